"""Sweeps of dynamic programming: a tree by hand, and the environment's own optimal values."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.agents.common.sweeps import TextTree, text_tree, value_iteration

NO = -np.inf
# Spelling "ab" with the letters a and b, paid at the end: the states "", "a" and "b".
SPELL_2 = TextTree(
    states=((9,), (9, 0), (9, 1)),
    rewards=np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    following=np.array([[1, 2], [-1, -1], [-1, -1]]),
    legal=np.ones((3, 2), dtype=np.bool_),
)


def test_optimal_values_by_hand() -> None:
    np.testing.assert_allclose(value_iteration(SPELL_2, 0.9), [[0.9, 0.0], [0.0, 1.0], [0.0, 0.0]], atol=1e-12)


def test_the_fixed_point_of_sarsa_by_hand() -> None:
    """At "a" the policy takes the wrong letter in one of twenty cases: 0.9 * 0.95 = 0.855 at the beginning."""
    values = value_iteration(SPELL_2, 0.9, epsilon=0.1)
    np.testing.assert_allclose(values, [[0.8550000000000001, 0.0], [0.0, 1.0], [0.0, 0.0]], atol=1e-12)


def test_illegal_tokens_are_no_choice() -> None:
    legal = np.array([[True, True], [True, False], [True, True]])
    values = value_iteration(SPELL_2._replace(legal=legal), 0.9)
    np.testing.assert_allclose(values, [[0.0, 0.0], [0.0, NO], [0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("density", ["dense", "sparse", "deceptive"])
def test_sweeps_give_the_optimal_values_of_the_environment(density: str) -> None:
    env: Any = gym.make("TextSpell-v0", difficulty="easy", density=density)
    task = env.unwrapped.task
    keys = [task.dataset[place].key for place in range(len(task.dataset))]
    tree, optimal = text_tree(env, keys), env.unwrapped.optimal_values(gamma=0.9)
    values = value_iteration(tree, 0.9)
    assert len(tree.states) == len(optimal) == 20
    for key, written in optimal:
        observed, _ = env.reset(options={"task_key": key})
        prompt = observed["input_ids"][: observed["attention_mask"].sum()].tolist()
        row = tree.states.index((*prompt, *written))
        np.testing.assert_allclose(values[row], optimal.of_actions(key, written), rtol=0, atol=1e-9)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"expected gamma in \[0, 1\], got 1.1"):
        value_iteration(SPELL_2, 1.1)
    with pytest.raises(ValueError, match=r"expected epsilon in \[0, 1\], got -1"):
        value_iteration(SPELL_2, epsilon=-1)
    with pytest.raises(ValueError, match="expected keys of examples, got none"):
        text_tree(None, [])
