from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest


def share_of_bangs(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Share of one of the twenty tokens that are allowed, of at most 4."""
    return [text.count("!") / 4 for text in responses]


@pytest.mark.parametrize("policy", [{}, {"critic": "separate", "temperature": 0.8}], ids=str)
def test_solves_a_trivial_task(policy: dict[str, Any], make_agent: Any, make_network: Any) -> None:
    agent = make_agent(
        {"model": make_network(seed=3, scale=1.0), **policy},
        {"reward": share_of_bangs, "max_new_tokens": 4},
        n_envs=16,
        n_steps=8,
        batch_size=64,
        n_epochs=4,
        learning_rate=5e-3,
        kl_coef=0.0,
        seed=3,
    )
    agent.learn(16 * 8 * 12)
    rewards = [record["reward"] for record in agent.history]
    assert rewards[0] < 0.1
    assert np.mean(rewards[-2:]) > 0.6


def test_a_strong_penalty_keeps_the_policy_at_home(make_agent: Any, make_network: Any) -> None:
    def train(kl_coef: float) -> float:
        agent = make_agent(
            {"model": make_network(scale=1.0)},
            {"reward": share_of_bangs, "max_new_tokens": 4},
            n_envs=16,
            n_steps=8,
            batch_size=64,
            n_epochs=4,
            learning_rate=5e-3,
            kl_coef=kl_coef,
        )
        agent.learn(16 * 8 * 6)
        return float(agent.history[-1]["kl"])

    assert train(1.0) < 0.2 * train(0.0)
