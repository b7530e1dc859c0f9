"""The core of agents that learn from fixed data, by one that fits a head of its own to numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textgym.agents.awr import AWR
from textgym.agents.common.offline import OfflineAgent, draw_some, endless_batches, warmup_cosine
from textgym.agents.dpo import DPO
from textgym.agents.facts import Offline
from textgym.agents.ilql import ILQL
from textgym.agents.sft import SFT
from textgym.errors import CheckpointError, DataError
from textgym.models.causal_lm import CausalLM
from textgym.models.stored_values import Check, StoredRecord, number
from textgym.models.text_model import TextModel


class Values(OfflineAgent):
    """Fits a head on the states of single tokens to numbers; a slow copy of the head follows it."""

    kind = "tests.Values"
    settings: ClassVar[Mapping[str, Check]] = {**OfflineAgent.settings, "noise": number}
    own_checks: ClassVar[Mapping[str, Check]] = {"shift": number}

    def __init__(self, model: TextModel, data: Sequence[tuple[int, float]] = (), *, noise: float = 0.0, **more: Any):
        self.data, self.noise, self.shift = list(data), noise, 0.5
        self.head, self.slow = nn.Linear(model.hidden_size, 1), nn.Linear(model.hidden_size, 1)
        for parameter in (*self.head.parameters(), *self.slow.parameters()):
            nn.init.zeros_(parameter)
        self.slow.requires_grad_(False)
        settings = {"batch_size": 2, "learning_rate": 1e-2, "warmup": 0.0, "max_grad_norm": 1.0, "log_every": 3}
        super().__init__(model, [1] * len(self.data), **{**settings, "seed": 0, **more})

    def modules(self) -> Mapping[str, nn.Module]:
        return {**super().modules(), "head": self.head, "slow": self.slow}

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        tokens, targets = zip(*(self.data[row] for row in rows), strict=True)
        noise = self.noise * torch.from_numpy(rng.random(len(rows))).float()
        states = self.text_model.network.get_input_embeddings()(torch.tensor(tokens))
        errors = self.head(states)[:, 0] - torch.tensor(targets) - noise - self.shift
        return (errors**2).mean(), {"error": errors.abs().mean()}

    def response_tokens(self) -> int:
        return 5 * len(self.data)

    def redraw(self, rows: Sequence[int], rng: np.random.Generator) -> None:
        rng.random(len(rows))

    def after_step(self) -> None:
        super().after_step()
        with torch.no_grad():
            self.slow.bias.lerp_(self.head.bias, 0.5)

    def own_tensors(self) -> Mapping[str, Tensor]:
        return {"own.tokens": torch.tensor([token for token, _ in self.data])}

    def own_record(self) -> StoredRecord:
        return {"shift": self.shift}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        self.shift = record["shift"]


DATA = [(3, 0.5), (4, -0.5), (5, 1.0), (6, 0.0), (7, 0.25)]


@pytest.fixture
def make(make_network: Any) -> Any:
    return lambda **more: Values(CausalLM(make_network()), DATA, **more)


def test_losses_fall_and_records_have_the_means_of_their_steps(make: Any) -> None:
    agent = make()
    agent.learn(30)
    assert np.mean(agent.losses[-5:]) < 0.5 * np.mean(agent.losses[:5])
    assert [record["timesteps"] for record in agent.history] == list(range(3, 31, 3))
    for row, record in enumerate(agent.history):
        assert record["loss"] == np.mean(agent.losses[3 * row : 3 * row + 3])
        assert list(record) == ["loss", "error", "grad_norm", "learning_rate", "timesteps"]
    assert agent.history[0]["learning_rate"] == pytest.approx(1e-2 * warmup_cosine(2, 30, 0.0))


def test_what_it_learns_from_is_counted(make: Any) -> None:
    agent = make()  # five items of five tokens, in batches of two: three steps for a pass
    assert isinstance(agent, Offline)
    assert (agent.labels, agent.tokens_per_step()) == (5, 25 / 3)
    empty = type(agent)(agent.model)
    assert (empty.labels, empty.tokens_per_step()) == (0, 0.0)


def test_options_out_of_range_are_refused(make_network: Any) -> None:
    model = CausalLM(make_network())
    for kind, option, value in itertools.chain(
        itertools.product((SFT, DPO, AWR, ILQL), ("warmup",), (1.5, -0.1, math.nan)),
        ((SFT, "prompt_share", 1.1), (SFT, "learning_rate", 0.0), (AWR, "gamma", 2.0), (DPO, "batch_size", 0)),
    ):
        with pytest.raises(ValueError, match=f"expected {option}"):
            kind(model, **{option: value})


def test_a_large_batch_costs_no_more_than_the_data(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, read = make(batch_size=1_000_000), []
    loss = agent.loss
    monkeypatch.setattr(agent, "loss", lambda rows, rng: (read.append(len(rows)), loss(rows, rng))[1])
    assert agent.seconds_per_step() > 0
    assert set(read) == {len(DATA)}


@pytest.mark.parametrize("made", [1, 4, 5])
def test_what_a_subclass_adds_goes_on_bit_for_bit(made: int, make: Any, tmp_path: Path) -> None:
    """Networks beside the model, draws of the loss, counters, and statistics of an iteration that is under way."""
    whole, begun, again = make(noise=0.3), make(noise=0.3), make(noise=0.3)
    whole.learn(9)
    begun.begin(9)
    for _ in range(made):
        begun.advance()
    begun.shift = again.shift = 0.5
    state = begun.get_state()
    again.set_state(state)
    assert again.num_timesteps == made
    again.learn(9 - made, reset_num_timesteps=False)
    assert again.losses == whole.losses
    assert again.history[-1] == whole.history[-1]
    assert torch.equal(again.slow.bias, whole.slow.bias)
    assert torch.equal(again.head.weight, whole.head.weight)
    assert len(state.record["statistics"]["error"]) == made  # of which no record has been made


def test_a_checkpoint_holds_the_parts_of_a_subclass(make: Any, tmp_path: Path) -> None:
    agent = make()
    agent.learn(4)
    agent.save(tmp_path / "agent")
    loaded = Values.load(tmp_path / "agent", device="cpu")
    assert torch.equal(loaded.head.weight, agent.head.weight)
    assert torch.equal(loaded.slow.bias, agent.slow.bias)
    assert (loaded.num_timesteps, loaded.shift, loaded.noise) == (4, 0.5, 0.0)
    with pytest.raises(DataError, match="expected data to learn from, got none"):
        loaded.learn(1)


def test_an_interrupted_step_is_not_saved(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make()
    agent.learn(2)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(agent, "after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        agent.advance()
    with pytest.raises(CheckpointError, match="expected an agent between optimizer steps, got one within"):
        agent.get_state()


def test_timing_changes_nothing(make: Any) -> None:
    agent, other = make(noise=0.3), make(noise=0.3)
    assert agent.seconds_per_step() > 0
    agent.learn(4), other.learn(4)
    assert agent.losses == other.losses


def test_every_item_is_in_one_batch_of_a_pass() -> None:
    sizes = [1 + k % 7 for k in range(50)]
    batches = endless_batches(sizes, 8, np.random.default_rng(0))
    first = [next(batches) for _ in range(7)]
    assert sorted(row for batch in first for row in batch) == list(range(50))
    assert max(map(len, first)) <= 8
    # items of a batch have about one size
    assert np.mean([np.ptp([sizes[row] for row in batch]) for batch in first]) < 2


def test_the_rate_rises_then_falls_as_a_cosine() -> None:
    shares = [warmup_cosine(step, 12, 0.25) for step in range(13)]
    assert shares[:4] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, 1.0]
    # half of the way down, (1 + cos(pi / 2)) / 2, is between steps 7 and 8 of 3 to 12
    assert shares[7] > 0.5 > shares[8]
    assert shares[12] == pytest.approx(0.0)


def test_some_items_are_drawn_by_the_seed_in_their_order() -> None:
    assert draw_some("abc", None, 0) == draw_some("abc", 3, 0) == draw_some("abc", 9, 0) == ["a", "b", "c"]
    drawn = {tuple(draw_some("abc", 2, seed)) for seed in range(30)}
    assert drawn == {("a", "b"), ("a", "c"), ("b", "c")}
    assert draw_some(range(100), 20, 7) == draw_some(range(100), 20, 7) == sorted(draw_some(range(100), 20, 7))
