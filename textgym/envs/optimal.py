"""Optimal values by dynamic programming, for tasks of few tokens and short texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from textgym.envs.prompts import Root, find_example
from textgym.envs.token_core import TokenCore
from textgym.naming import argument
from textgym.text.tokenizer import Tokenizer
from textgym.types import BoolArray, Example, FloatArray, IntArray

MOST_TEXTS = 2_000_000
State = tuple[str, str | tuple[int, ...]]
"""Key of the example, and what was written behind its prompt: ids, or a text that stands for those it is encoded to."""


class OptimalValues(Mapping[State, float]):
    """The optimal value of every state: the largest discounted sum of rewards that can follow.

    Example::

        values = env.unwrapped.optimal_values(gamma=0.9)
        values["words/train/0", ""]            # of the prompt alone
        values.of_actions("words/train/0", "ab")   # of every token behind "ab", shape (V,)

    Attributes:
        gamma: The discount.
    """

    def __init__(self, gamma: float, tokenizer: Tokenizer, of_actions: Mapping[State, FloatArray]) -> None:
        self.gamma, self._tokenizer, self._of_actions = gamma, tokenizer, of_actions

    def of_actions(self, key: str, written: str | Sequence[int] = "") -> FloatArray:
        """Return the optimal value of every token in a state, ``(V,)``: minus infinity where the task forbids it."""
        return self._of_actions[self._state((key, tuple(written) if not isinstance(written, str) else written))]

    def __getitem__(self, state: State) -> float:
        """Return the optimal value of a state: the key of an example, and a text or ids.

        Raises:
            KeyError: There is no such state; finished texts are none.
        """
        return float(self._of_actions[self._state(state)].max())

    def __iter__(self) -> Iterator[State]:
        """Yield all states, with ids."""
        return iter(self._of_actions)

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self._of_actions)

    def __repr__(self) -> str:
        return f"<OptimalValues of {len(self):,} states, gamma={self.gamma:g}>"

    def _state(self, state: State) -> State:
        key, written = state
        return key, tuple(self._tokenizer.encode(written)) if isinstance(written, str) else written


class _Level(NamedTuple):
    """The unfinished texts of one length about one example.

    Attributes:
        written: Ids of each, shape ``(m, t)``.
        rewards: Pay of every token behind them, shape ``(m, V)``; minus infinity where it is forbidden.
        going_on: Tokens that lead to the unfinished texts of the next level, shape ``(m, V)``, in the order of those.
    """

    written: IntArray
    rewards: FloatArray
    going_on: BoolArray


def optimal_values(core: TokenCore, gamma: float = 1.0, keys: Sequence[str] | None = None) -> OptimalValues:
    """Return the optimal value of every state of an environment, by backward induction over all texts.

    Args:
        core: State of the environment, with its reward and budgets; it stays as it is.
        gamma: Discount, in [0, 1].
        keys: Keys of the examples; ``None`` is all of the split.

    Raises:
        ValueError: The task has several turns, ``gamma`` is no discount, or there are too many texts.
    """
    task = core.task
    if task.max_turns > 1:
        raise ValueError(
            f"expected a task of one turn, got {task.name!r} of {task.max_turns}, whose other side may answer anything"
        )
    if not 0 <= gamma <= 1:
        raise ValueError(f"expected {argument('gamma')} in [0, 1], got {gamma}; give the discount of the agent")
    places = range(len(task.dataset)) if keys is None else ()
    examples = [*(task.dataset[place] for place in places), *(find_example(task, key) for key in keys or ())]
    known: dict[State, FloatArray] = {}
    left = MOST_TEXTS
    for example in examples:
        levels = _levels(core, example, left)
        left -= sum(len(level.written) for level in levels)
        _induce(levels, gamma, example.key, known)
    return OptimalValues(gamma, core.tokenizer, known)


def _levels(core: TokenCore, example: Example, left: int) -> list[_Level]:
    """Return all unfinished texts about an example by length, written by the environment's own transitions."""
    here = core.copies(1)
    here.reset([0], [example], [Root(0, 0)])
    levels, written = list[_Level](), np.zeros((1, 0), dtype=np.int64)
    while len(written):
        masks = here.action_masks()
        left -= int(masks.sum())
        if left < 0:
            raise ValueError(
                f"expected a task of at most {MOST_TEXTS:,} texts, got more; lower {argument('max_new_tokens')}, or "
                "name a few examples by their keys"
            )
        rows, tokens = masks.nonzero()
        there = here.branch(rows)
        ended = there.step(tokens)
        paid = there.token_rewards()
        if ended.size:
            paid[ended] = there.finish(ended).rewards
        rewards = np.full(masks.shape, -np.inf)
        rewards[rows, tokens] = paid
        alive = np.setdiff1d(np.arange(len(rows)), ended)
        going_on = np.zeros(masks.shape, dtype=np.bool_)
        going_on[rows[alive], tokens[alive]] = True
        levels.append(_Level(written, rewards, going_on))
        written = np.concatenate([written[rows[alive]], tokens[alive, None]], axis=1)
        here = there.branch(alive)
    return levels


def _induce(levels: Sequence[_Level], gamma: float, key: str, known: dict[State, FloatArray]) -> None:
    """Add the values of the states of one example, from the longest texts back to the empty one."""
    following: FloatArray = np.zeros(0)
    for level in reversed(levels):
        values = level.rewards.copy()
        values[level.going_on] += gamma * following
        following = values.max(axis=1)
        known.update(((key, tuple(ids)), row) for ids, row in zip(level.written.tolist(), values, strict=True))
