"""What ranks tell each other: the same numbers in one process, taking turns, and between processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.process_groups import run_ranks
from textgym.agents.common import distributed
from textgym.agents.common.distributed import Alone, Communicator, current, using
from textgym.agents.common.lock_step import in_lock_step

SIZE = 3


def talk(ranks: Communicator) -> dict[str, Any]:
    """Everything that can be said, with numbers whose sum depends on the order."""
    rank = ranks.rank
    numbers = torch.tensor([[1e8, 1.0, 0.5], [1.0, 1e8, -0.25], [-1e8, -1e8, 3.0]])[rank]
    weights = [torch.nn.Parameter(torch.full((2, 2), float(rank))) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.full((2, 2), 10.0**rank)
    frozen = torch.nn.Parameter(torch.zeros(3))
    gathered = ranks.concatenate(torch.arange(rank, dtype=torch.float64)[:, None])
    ranks.sum_gradients([*weights, frozen])
    ranks.broadcast_parameters(weights)
    ranks.barrier()
    return {
        "sum": ranks.sum(numbers).tolist(),
        "json": ranks.all_gather_json({"rank": rank, "text": "ü" * rank, "none": None}),
        "rows": gathered.rows.tolist(),
        "own": [gathered.own.start, gathered.own.stop],
        "any": [ranks.any(rank == 2), ranks.any(False)],
        "gradients": [weight.grad.tolist() for weight in weights if weight.grad is not None],
        "weights": [weight.tolist() for weight in weights],
        "last": ranks.broadcast(torch.tensor([rank]), source=SIZE - 1).tolist(),
        "named": [
            {name: [str(tensor.dtype), tensor.tolist()] for name, tensor in named.items()}
            for named in ranks.all_gather_tensors(
                {"all": torch.full((1, rank), rank), f"of {rank}": torch.tensor(rank / 2, dtype=torch.float64)}
            )
        ],
        "neighbours": {
            other: found.tolist()
            for other, found in ranks.exchange(torch.tensor([rank]), {(rank + 1) % SIZE, (rank - 1) % SIZE}).items()
        },
    }


def expected(rank: int) -> dict[str, Any]:
    return {
        "sum": [0.0, 0.0, 3.25],  # (1e8 + 1) - 1e8 is 0 in fp32, whereas 1e8 - 1e8 + 1 is 1
        "json": [{"rank": each, "text": "ü" * each, "none": None} for each in range(SIZE)],
        "rows": [[0.0], [0.0], [1.0]],
        "own": [[0, 0], [0, 1], [1, 3]][rank],
        "any": [True, False],
        "gradients": [[[111.0] * 2] * 2] * 2,
        "weights": [[[0.0] * 2] * 2] * 2,
        "last": [SIZE - 1],
        "named": [
            {"all": ["torch.int64", [[each] * each]], f"of {each}": ["torch.float64", each / 2]} for each in range(SIZE)
        ],
        "neighbours": {other: [other] for other in range(SIZE) if other != rank},
    }


def test_ranks_that_take_turns() -> None:
    assert in_lock_step(SIZE, talk) == [expected(rank) for rank in range(SIZE)]


def talk_between_processes(folder: Path) -> dict[str, Any]:
    return talk(current())


@pytest.mark.slow
def test_ranks_in_processes(tmp_path: Path) -> None:
    found = run_ranks(SIZE, f"{__name__}:talk_between_processes", tmp_path)
    wanted = [expected(rank) for rank in range(SIZE)]
    for each in wanted:  # JSON has no numbers as keys
        each["neighbours"] = {str(other): value for other, value in each["neighbours"].items()}
    assert found == wanted


def test_a_process_without_others_is_alone() -> None:
    ranks = current()
    assert isinstance(ranks, Alone)
    assert (ranks.rank, ranks.size, ranks.bytes_sent) == (0, 1, 0)
    rows = torch.arange(3.0)
    gathered = ranks.concatenate(rows)
    assert gathered.rows is rows
    assert rows[gathered.own].tolist() == [0, 1, 2]
    assert ranks.sum(rows) is ranks.broadcast(rows) is rows
    assert ranks.all_gather_json("x") == ["x"]
    assert ranks.exchange(rows, []) == {}
    assert (ranks.any(True), ranks.any(False)) == (True, False)
    ranks.barrier()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    ranks.sum_gradients([parameter])
    ranks.broadcast_parameters([parameter])
    assert (parameter.tolist(), parameter.grad.tolist()) == ([1, 1], [1, 1])
    with distributed.processes() as found:  # torchrun did not start it
        assert found is ranks


def test_agents_that_are_made_within_a_block_belong_to_its_ranks() -> None:
    other = Alone()
    with using(other):
        assert current() is other
        with distributed.alone():
            assert current() is not other
        assert current() is other
    assert current() is not other


def test_gradients_go_in_buckets_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_BUCKET", 5)

    def work(ranks: Communicator) -> tuple[list[list[float]], int]:
        parameters = [torch.nn.Parameter(torch.zeros(size, dtype=dtype)) for size, dtype in SIZES]
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, number + 10.0 * ranks.rank)
        ranks.sum_gradients(parameters)
        gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return [gradient.tolist() for gradient in gradients], ranks.bytes_sent

    sizes = [2, 3, 7, 1, 4]
    for found, sent in in_lock_step(2, work):
        assert found == [[2 * number + 10.0] * size for number, size in enumerate(sizes)]
        assert sent == 4 * (2 + 3 + 7) + 8 * (1 + 4)


SIZES = [(2, torch.float32), (3, torch.float32), (7, torch.float32), (1, torch.float64), (4, torch.float64)]
