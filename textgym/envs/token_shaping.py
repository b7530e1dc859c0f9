"""Rewards of single tokens, for rewards that are shaped by a potential."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from textgym.envs.conversations import Conversations, TurnEnds
from textgym.rewards import Shaping
from textgym.tasks.base import shown_of
from textgym.types import FloatArray, IntArray, Shown, Task


class TokenShaping:
    """The potentials of the unfinished texts in ``n`` copies, measured from that of the empty text.

    Args:
        shaping: Potential and discount.
        task: Task of the conversations.
        conversations: The conversations in the copies.

    Attributes:
        paid: Sum of the rewards of the tokens of each episode so far, shape ``(n,)``.
    """

    def __init__(self, shaping: Shaping, task: Task, conversations: Conversations) -> None:
        self._shaping, self._task, self._conversations = shaping, task, conversations
        self._empty = np.zeros(conversations.n)
        self._potentials = np.zeros(conversations.n)
        self.paid: FloatArray = np.zeros(conversations.n)

    def start(self, rows: Sequence[int]) -> None:
        """Start an episode in some copies."""
        self.paid[rows] = 0.0
        self._begin_turns(rows)

    def copy_from(self, other: TokenShaping, rows: Sequence[int] | IntArray) -> None:
        """Go on from the texts in some copies of another one."""
        self._empty, self._potentials, self.paid = other._empty[rows], other._potentials[rows], other.paid[rows]

    def advance(self, rows: Sequence[int], texts: Sequence[str]) -> FloatArray:
        """Take in unfinished texts of some copies, one token longer than before; return what that token is paid."""
        now = self._measured(rows, texts) - self._empty[rows]
        return self._pay(rows, now)

    def end_turns(self, rows: Sequence[int], ends: TurnEnds) -> None:
        """Add what the last tokens of turns are paid to their rewards, and to the infos of episodes that ended."""
        ends.rewards[:] += self._pay(rows, np.zeros(len(rows)))
        for row, ended, info in zip(rows, ends.ended, ends.infos, strict=True):
            if ended and self._shaping.gamma != 1:  # with 1 it adds up to nothing
                paid, rewards = float(self.paid[row]), info["rewards"]
                rewards |= {"shaping": paid, "total": rewards["total"] + paid}
        self._begin_turns([row for row, ended in zip(rows, ends.ended, strict=True) if not ended])

    def resume(self, texts: Sequence[str], paid: npt.ArrayLike) -> None:
        """Go on with unfinished texts, whose tokens were paid so much."""
        rows = range(self._conversations.n)
        self._begin_turns(rows)
        self._potentials = self._measured(rows, texts) - self._empty
        self.paid = np.array(paid, dtype=np.float64)

    def _begin_turns(self, rows: Sequence[int]) -> None:
        self._potentials[rows] = 0.0
        self._empty[rows] = self._measured(rows, [""] * len(rows))

    def _pay(self, rows: Sequence[int], now: FloatArray) -> FloatArray:
        paid: FloatArray = self._shaping.gamma * now - self._potentials[rows]
        self._potentials[rows] = now
        self.paid[rows] += paid
        return paid

    def _measured(self, rows: Sequence[int], texts: Sequence[str]) -> FloatArray:
        if not len(rows):
            return np.zeros(0)
        episodes = [self._conversations.episode(row) for row in rows]
        shown: list[Shown] = [shown_of(self._task, each.example, each.turns) for each in episodes]
        return self._shaping.potentials(shown, texts, [each.example for each in episodes])
