"""Logged transitions by the rows of a table of action values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.logged_texts import LoggedTurns
from textgym.agents.common.q_table import QTable, State, state_of
from textgym.types import FloatArray, IntArray


class TransitionLog(NamedTuple):
    """``n`` transitions, a token each.

    Attributes:
        rows: (n,) rows of the states.
        actions: (n,) tokens.
        rewards: (n,).
        following: (n,) rows of the states that follow; -1 where an episode ended.
    """

    rows: IntArray
    actions: IntArray
    rewards: FloatArray
    following: IntArray

    def tensors(self) -> dict[str, Tensor]:
        """Return the transitions as tensors by name."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._asdict().items()}


def log_transitions(episodes: Sequence[LoggedTurns], table: QTable) -> TransitionLog:
    """Give all states of a log rows of a table, in which the tokens of the log alone are legal.

    Args:
        episodes: The log.
        table: Gets the states.

    Raises:
        ValueError: There are more states than the table may have.
    """
    steps = [step for episode in episodes for step in _steps(episode)]
    legal: dict[State, set[int]] = {}
    for state, action, _, _ in steps:
        legal.setdefault(state, set()).add(action)
    masks = np.zeros((len(legal), table.actions), dtype=np.bool_)
    for mask, actions in zip(masks, legal.values(), strict=True):
        mask[list(actions)] = True
    table.see(list(legal), masks)
    return TransitionLog(
        np.array([table.states[state] for state, _, _, _ in steps], dtype=np.int64),
        np.array([action for _, action, _, _ in steps], dtype=np.int64),
        np.array([reward for _, _, reward, _ in steps], dtype=np.float64),
        np.array([-1 if after is None else table.states[after] for _, _, _, after in steps], dtype=np.int64),
    )


def _steps(episode: LoggedTurns) -> list[tuple[State, int, float, State | None]]:
    """Return state, token, reward and next state of every token of an episode."""
    found: list[tuple[State, int, float]] = []
    for turn in episode:
        last = len(turn.response) - 1
        found += [
            (state_of([*turn.prompt, *turn.response[:at]]), token, turn.reward if at == last else 0.0)
            for at, token in enumerate(turn.response)
        ]
    following: list[State | None] = [*(state for state, _, _ in found[1:]), None]
    return [(*step, after) for step, after in zip(found, following, strict=True)]


def read_transitions(tensors: Mapping[str, Tensor], table: QTable) -> TransitionLog | None:
    """Return what :meth:`TransitionLog.tensors` gave, ``None`` if there is nothing.

    Raises:
        ValueError: They are no transitions of the table.
    """
    if not tensors:
        return None
    log = TransitionLog(**{name: tensors[name].numpy().copy() for name in TransitionLog._fields})
    count = len(log.rows)
    fits = all(array.shape == (count,) for array in log) and count > 0
    if not (
        fits
        and ((log.rows >= 0) & (log.rows < len(table))).all()
        and ((log.actions >= 0) & (log.actions < table.actions)).all()
        and ((log.following >= -1) & (log.following < len(table))).all()
    ):
        raise ValueError("expected logged transitions of the table, got others")
    return log
