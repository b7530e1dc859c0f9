"""Agents that sample learn to spell: on the smallest task, whose best return is 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textgym.agents import AGENTS, make_vec_env, resolve_agent
from textgym.agents.facts import facts_of
from textgym.agents.registry import can_learn, installed_agents

LEARNERS = [
    name for name in installed_agents() if can_learn(resolve_agent(name)) and facts_of(resolve_agent(name)).samples
]
OPTIONS: dict[str, dict[str, Any]] = {
    "a2c": {"use_rms_prop": False},
    "trpo": {"target_kl": 0.05, "cg_max_steps": 5, "n_critic_updates": 2},
}


def test_who_learns_by_sampling() -> None:
    assert {"ppo", "reinforce", "reinforce_pp", "rloo", "grpo", "sb3_ppo", "a2c"} <= set(LEARNERS) <= set(AGENTS)


@pytest.mark.parametrize("name", LEARNERS)
def test_learns_to_spell(name: str) -> None:
    env = make_vec_env("TextSpell-v0", n_envs=32, seed=0, model="letters", difficulty="easy", density="dense")
    options = {"learning_rate": lambda _: 1e-2, **OPTIONS.get(name, {})}
    agent: Any = resolve_agent(name).create(env, "letters", seed=0, device="cpu", **options)
    agent.learn(32 * 2 * 25)
    rewards = [record["reward"] for record in agent.history]
    print(name, [round(r, 2) for r in rewards])
    assert np.mean(rewards[:2]) < 0.5
    assert np.mean(rewards[-3:]) > 0.9
