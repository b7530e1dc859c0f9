"""Updates on weights that are shared out (FSDP2): the same steps as on whole weights, and plain folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.process_groups import run_ranks
from textgym.agents.common.distributed import current
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ppo import PPO

SETTINGS: dict[str, Any] = {"n_steps": 9, "batch_size": 1000, "n_epochs": 1, "learning_rate": 1e-3, "seed": 3}
CRITICS = ("detached", "separate")


def make(**options: Any) -> Any:
    """An agent on words of three letters, in this process's half of four environments."""
    ranks = current()
    env = make_vec_env("TextSpell-v0", 4 // ranks.size, seed=3 + ranks.rank * 4 // ranks.size)
    return PPO.create(env, "letters", **{**SETTINGS, **options})


def parameters(agent: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in agent.policy.named_parameters()}


def farthest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def train(folder: Path, critic: str) -> dict[str, Any]:
    """Train with weights whole and shared out; save, go on, and go on from what was saved."""
    plain, shared = make(critic=critic), make(critic=critic, shard=True, micro_batch_size=8)
    start = parameters(shared)
    rank = current().rank
    moved, apart, sizes = [], [], []
    torch.manual_seed(rank)
    states = {id(plain): torch.get_rng_state(), id(shared): torch.get_rng_state()}
    for _ in range(2):
        for agent in (plain, shared):
            torch.set_rng_state(states[id(agent)])
            torch.manual_seed(5 + rank)
            import numpy as np

            np.random.seed(5 + rank)
            agent.learn(1, reset_num_timesteps=False)
            states[id(agent)] = torch.get_rng_state()
        moved.append(farthest(parameters(shared), start))
        apart.append(farthest(parameters(shared), parameters(plain)))
    for group in shared.policy.optimizer.param_groups:
        sizes += [[parameter.to_local().numel(), parameter.numel()] for parameter in group["params"]]
    shared.save(folder / "checkpoint")
    shared.text_model.save_pretrained(folder / f"model-{rank}")
    shared.learn(1, reset_num_timesteps=False)
    again: Any = PPO.load(folder / "checkpoint", env=make().env, device="cpu")
    again.learn(1, reset_num_timesteps=False)
    return {
        "moved": moved,
        "apart": apart,
        "resumed": farthest(parameters(again), parameters(shared)),
        "weights": [float(tensor.double().sum()) for tensor in parameters(shared).values()],
        "sizes": sizes,
        "history": [row["grad_norm"] for row in shared.history],
        "plain history": [row["grad_norm"] for row in plain.history],
    }


@pytest.mark.slow
@pytest.mark.parametrize("critic", CRITICS)
def test_steps_on_shared_out_weights_are_those_on_whole_ones(critic: str, tmp_path: Path) -> None:
    found = run_ranks(2, f"{__name__}:train", tmp_path, critic=critic)
    for each in found:
        assert each["apart"][0] < 1e-6 < 1e-4 < each["moved"][0]
        assert each["apart"][1] < 1e-5
        assert each["history"][0] == pytest.approx(each["plain history"][0], rel=1e-4)
        assert each["resumed"] == 0.0
        local, all_of_it = (sum(size[place] for size in each["sizes"]) for place in (0, 1))
        assert local < 0.6 * all_of_it
    assert found[0]["weights"] == found[1]["weights"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model-0")  # a plain folder
    assert all(not isinstance(part, torch.distributed.tensor.DTensor) for part in model.parameters())


def test_one_process_shares_nothing_out() -> None:
    agent = make(shard=True)
    assert agent.shards is None
    agent.learn(36)
    assert agent.num_timesteps == 36
