"""Exact action values of small tasks: the tree of their texts, and sweeps of dynamic programming over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from textgym.agents.common.exploration import epsilon_greedy, expected_values
from textgym.types import BoolArray, FloatArray, IntArray

_SWEEPS = 10_000


class TextTree(NamedTuple):
    """The states of a task, which are its unfinished texts, and what follows on each of ``A`` tokens.

    Attributes:
        states: ``S`` texts, each the ids of prompt and response so far.
        rewards: (S, A) reward of every token; 0 where it is illegal.
        following: (S, A) place of the text with the token in ``states``; -1 where the text ends with it.
        legal: (S, A) tokens that the task allows, one at least in every state.
    """

    states: tuple[tuple[int, ...], ...]
    rewards: FloatArray
    following: IntArray
    legal: BoolArray


def value_iteration(
    tree: TextTree, gamma: float = 1.0, *, epsilon: float = 0.0, tolerance: float = 1e-12
) -> FloatArray:
    """Sweep over all states until action values stand still.

    ``Q(s, a) <- r(s, a) + gamma sum_b pi(b|s') Q(s', b)``, where pi is the epsilon-greedy policy of Q. With epsilon 0
    the sum is ``max_b Q(s', b)``: value iteration (Bellman 1957), whose fixed point is Q*, that of Q-learning. With
    epsilon above 0 it is the fixed point of SARSA that explores at this rate.

    Args:
        tree: The task.
        gamma: Discount, in [0, 1].
        epsilon: Share of random actions of the policy that is evaluated, in [0, 1].
        tolerance: Largest change of a value by the last sweep. A tree stands still after as many sweeps as its longest
            text has tokens.

    Returns:
        (S, A); minus infinity where a token is illegal.

    Raises:
        ValueError: ``gamma`` or ``epsilon`` is not in [0, 1], or values do not stand still.
    """
    for name, value in (("gamma", gamma), ("epsilon", epsilon)):
        if not 0 <= value <= 1:
            raise ValueError(f"expected {name} in [0, 1], got {value}; choose another")
    goes_on = tree.following >= 0
    rewards = np.where(tree.legal, tree.rewards, -np.inf)
    values = rewards
    for _ in range(_SWEEPS):
        of_states = expected_values(values, epsilon_greedy(values, epsilon))  # (S,)
        swept = rewards + gamma * np.where(goes_on, of_states[tree.following], 0.0)
        change = np.abs(swept[tree.legal] - values[tree.legal]).max(initial=0.0)
        values = swept
        if change <= tolerance:
            return values
    raise ValueError(f"expected values that stand still after {_SWEEPS} sweeps, got a change of {change:.2g}")


def text_tree(env: Any, keys: Sequence[str]) -> TextTree:
    """Write every text that a task allows about some examples, by stepping an environment through all of them.

    Args:
        env: A single token-level environment of ``gymnasium.make`` whose texts have one turn.
        keys: Keys of the examples.

    Raises:
        ValueError: There are no keys.
    """
    if not keys:
        raise ValueError("expected keys of examples, got none; name those whose texts are to be written")
    places: dict[tuple[int, ...], int] = {}
    rows: list[tuple[FloatArray, list[tuple[int, ...] | None], BoolArray]] = []
    for key in keys:
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            written = waiting.pop()
            state, legal, _, _ = _walk(env, key, written)
            places[state] = len(rows)
            rewards, following = np.zeros(len(legal)), list[tuple[int, ...] | None]([None] * len(legal))
            for token in np.flatnonzero(legal).tolist():
                longer, _, rewards[token], ended = _walk(env, key, (*written, token))
                if not ended:
                    following[token] = longer
                    waiting.append((*written, token))
            rows.append((rewards, following, legal))
    return TextTree(
        tuple(places),
        np.array([rewards for rewards, _, _ in rows]),
        np.array([[-1 if text is None else places[text] for text in following] for _, following, _ in rows]),
        np.array([legal for _, _, legal in rows]),
    )


def _walk(env: Any, key: str, written: Sequence[int]) -> tuple[tuple[int, ...], BoolArray, float, bool]:
    """Write tokens behind a prompt; returns the ids, the legal tokens behind them, the last reward, and the end."""
    observation, _ = env.reset(options={"task_key": key})
    reward, ended = 0.0, False
    for token in written:
        observation, reward, ended, _, _ = env.step(np.int64(token))
    ids = observation["input_ids"][: observation["attention_mask"].sum()]
    legal: BoolArray = env.unwrapped.action_masks()
    return tuple(ids.tolist()), legal, float(reward), bool(ended)
