"""SARSA finds the values of the policy that explores, and with the end of exploration the optimal ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.agents.common.q_table import state_of
from textgym.agents.common.sweeps import text_tree, value_iteration
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.sarsa import SARSA

GAMMA = 0.9


def learned_and_exact(data: dict[str, Any], exploring: float, steps: int, **options: Any) -> tuple[Any, Any, Any]:
    """Action values of an agent and of sweeps, and which of them are of legal tokens."""
    agent = SARSA(make_vec_env("TextSpell-v0", 16, 0, density="sparse", **data), gamma=GAMMA, seed=0, **options)
    agent.learn(steps)
    env: Any = gym.make("TextSpell-v0", density="sparse", **data)
    examples = env.unwrapped.task.dataset
    tree = text_tree(env, [examples[place].key for place in range(len(examples))])
    learned = agent.table.values_of([state_of(ids) for ids in tree.states])
    return learned, value_iteration(tree, GAMMA, epsilon=exploring), tree.legal


def test_targets_by_hand() -> None:
    values = np.array([[0.5, 2.0], [1.0, 0.0]])
    actions, probabilities = np.array([0, 1]), np.array([[0.25, 0.75], [1.0, 0.0]])
    assert SARSA().values_after(values, actions, probabilities).tolist() == [0.5, 0.0]
    assert SARSA(expected=True).values_after(values, actions, probabilities).tolist() == [1.625, 1.0]


@pytest.mark.parametrize("expected", [False, True])
def test_without_exploration_in_the_end_it_learns_the_optimal_values(expected: bool) -> None:
    learned, exact, legal = learned_and_exact({"difficulty": "easy"}, 0.0, 3200, expected=expected)
    np.testing.assert_allclose(learned[legal], exact[legal], rtol=0, atol=1e-2)


@pytest.mark.parametrize("expected", [False, True])
def test_it_learns_the_values_of_the_policy_that_explores(expected: bool) -> None:
    """Q('') is [0.855, 0] for "ab" at epsilon 0.1, not [0.9, 0]: one letter in twenty is the wrong one."""
    learned, exact, legal = learned_and_exact(
        {"data": ["ab"]},
        0.1,
        3200,
        epsilon=0.1,
        final_epsilon=0.1,
        step_size="visits",
        learning_rate=1.0,
        visit_power=0.9,
        expected=expected,
    )
    assert sorted(exact[0][legal[0]].tolist()) == pytest.approx([0.0, 0.855])
    np.testing.assert_allclose(learned[legal], exact[legal], rtol=0, atol=1e-2 if expected else 3e-2)
