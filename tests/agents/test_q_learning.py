"""Q-learning finds the optimal values of a small task, off-policy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.agents.common.q_table import state_of
from textgym.agents.common.sweeps import TextTree, text_tree, value_iteration
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.q_learning import QLearning

GAMMA = 0.9


def tree_of(**arguments: Any) -> TextTree:
    env: Any = gym.make("TextSpell-v0", **arguments)
    data = env.unwrapped.task.dataset
    return text_tree(env, [data[place].key for place in range(len(data))])


def test_a_step_by_hand() -> None:
    """Q('', a) <- Q + 0.5 (0 + 0.9 max(0, 1) - Q) once 'b' behind 'a' is known to be worth 1."""
    agent = QLearning(make_vec_env("TextSpell-v0", 1, 0, data=["ab"], density="sparse"), gamma=GAMMA, epsilon=1.0)
    agent.learn(60)
    values = {ids: agent.table.values_of([state_of(ids)])[0] for ids in [(2, 3, 8), (2, 3, 8, 2), (2, 3, 8, 3)]}
    assert values[2, 3, 8, 2][3] == pytest.approx(1.0, abs=1e-2)  # 'b' behind 'a' is paid
    assert values[2, 3, 8][2] == pytest.approx(0.9, abs=1e-2)
    assert values[2, 3, 8][3] == values[2, 3, 8, 3][2] == values[2, 3, 8, 3][3] == 0.0


@pytest.mark.parametrize("exploration", ["epsilon_greedy", "softmax"])
@pytest.mark.parametrize("density", ["sparse", "deceptive"])
def test_it_learns_the_optimal_values(exploration: Any, density: str) -> None:
    env = make_vec_env("TextSpell-v0", 16, 0, difficulty="easy", density=density)
    agent = QLearning(env, gamma=GAMMA, learning_rate=1.0, exploration=exploration, seed=0)
    agent.learn(1600)
    tree = tree_of(difficulty="easy", density=density)
    learned = agent.table.values_of([state_of(ids) for ids in tree.states])
    exact = value_iteration(tree, GAMMA)
    np.testing.assert_allclose(learned[tree.legal], exact[tree.legal], rtol=0, atol=1e-2)


def test_it_learns_the_optimal_values_whatever_it_tries() -> None:
    """Off-policy: with random tokens to the end the values are the same, though no text gets better."""
    env = make_vec_env("TextSpell-v0", 16, 0, difficulty="easy", density="sparse")
    agent = QLearning(env, gamma=GAMMA, learning_rate=1.0, epsilon=1.0, final_epsilon=1.0, seed=1)
    agent.learn(1600)
    tree = tree_of(difficulty="easy", density="sparse")
    learned = agent.table.values_of([state_of(ids) for ids in tree.states])
    np.testing.assert_allclose(learned[tree.legal], value_iteration(tree, GAMMA)[tree.legal], rtol=0, atol=1e-2)
    assert np.mean([record["reward"] for record in agent.history[-10:]]) < 0.5
