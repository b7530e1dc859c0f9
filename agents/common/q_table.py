"""A table of action values: a row for every text that was seen, a column for every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from textgym.types import BoolArray, FloatArray, IntArray

State = bytes
"""Name of a state in a table: the ids of the text so far, as :func:`state_of` makes it."""


def state_of(ids: Sequence[int] | IntArray) -> State:
    """Return the state that a text of these ids is."""
    return np.asarray(ids, dtype=np.int32).tobytes()


def states_of(observations: Mapping[str, np.ndarray]) -> list[State]:
    """Return the states that observations (n, ...) of a token-level environment show: prompt and response so far."""
    lengths = observations["attention_mask"].sum(1).tolist()
    return [state_of(ids[:length]) for ids, length in zip(observations["input_ids"], lengths, strict=True)]


class QTable:
    """Action values of all states that were seen, which of their actions are legal, and how often each was updated.

    Args:
        actions: Number of tokens.
        initial: Value of an action before it is tried.
        most_entries: Largest number of entries, states times tokens.

    Attributes:
        states: Rows by state, in the order in which states were seen.
    """

    def __init__(self, actions: int, initial: float = 0.0, most_entries: int = 20_000_000) -> None:
        self.actions, self.initial, self.most_entries = actions, initial, most_entries
        self.states: dict[State, int] = {}
        self._values: FloatArray = np.zeros((0, actions))
        self._legal: BoolArray = np.zeros((0, actions), dtype=np.bool_)
        self._visits: IntArray = np.zeros((0, actions), dtype=np.int64)
        self._changes: list[tuple[int, int, float]] = []
        self._states_then = 0

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.states)

    def see(self, states: Sequence[State], legal: BoolArray) -> IntArray:
        """Return the rows (n,) of states; those that are new get one.

        Args:
            states: ``n`` states.
            legal: (n, A) their legal actions.

        Raises:
            ValueError: There are more states than the table may have.
        """
        rows = np.empty(len(states), dtype=np.int64)
        for place, state in enumerate(states):
            if state not in self.states:
                self._add(state, legal[place])
            rows[place] = self.states[state]
        return rows

    def values(self, rows: IntArray) -> FloatArray:
        """Return the action values (n, A) of rows; minus infinity where an action is illegal."""
        return np.where(self._legal[rows], self._values[rows], -np.inf)

    def values_of(self, states: Sequence[State]) -> FloatArray:
        """Return the action values (n, A) of states; of one that was never seen, the initial value of every action.

        An action that was legal in no state that was seen is taken to be illegal there as well.
        """
        legal = self._legal[: len(self)].any(axis=0)
        unseen = np.where(legal | ~legal.any(), self.initial, -np.inf)
        found = np.tile(unseen, (len(states), 1))
        for place, state in enumerate(states):
            if state in self.states:
                found[place] = self.values(np.array([self.states[state]]))[0]
        return found

    def visits(self, row: int, action: int) -> int:
        """Return how often an action value was updated."""
        return int(self._visits[row, action])

    def update(self, row: int, action: int, target: float, step_size: float) -> None:
        """Move an action value towards a target: ``Q(s, a) <- Q(s, a) + step size (target - Q(s, a))``."""
        before = float(self._values[row, action])
        self._changes.append((row, action, before))
        self._values[row, action] = before + step_size * (target - before)
        self._visits[row, action] += 1

    # ------------------------------------------------------------------- state
    def remember(self) -> None:
        """Take note of the table as it is now, which :meth:`tensors` then gives."""
        self._changes, self._states_then = [], len(self)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all entries and states, as they were when :meth:`remember` was called last."""
        count = self._states_then
        values, visits = self._values[:count].copy(), self._visits[:count].copy()
        for row, action, before in reversed([change for change in self._changes if change[0] < count]):
            values[row, action] = before
            visits[row, action] -= 1
        texts = [np.frombuffer(state, dtype=np.int32) for state in list(self.states)[:count]]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        ids = np.concatenate([*texts, np.zeros(0, dtype=np.int32)])
        arrays = {"values": values, "visits": visits, "legal": self._legal[:count].copy(), "ids": ids}
        return {name: torch.from_numpy(array) for name, array in {**arrays, "lengths": lengths}.items()}

    def set_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave.

        Raises:
            ValueError: It is of another number of actions, or no table.
        """
        arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
        count = len(arrays["lengths"])
        shapes = {arrays[name].shape for name in ("values", "visits", "legal")}
        if shapes != {(count, self.actions)} or arrays["lengths"].sum() != len(arrays["ids"]):
            raise ValueError(f"expected a table of {count} states and {self.actions} actions, got shapes {shapes}")
        texts = np.split(arrays["ids"].astype(np.int32), arrays["lengths"].cumsum()[:-1]) if count else []
        self.states = {text.tobytes(): row for row, text in enumerate(texts)}
        self._values, self._visits = arrays["values"].astype(np.float64), arrays["visits"].astype(np.int64)
        self._legal = arrays["legal"].astype(np.bool_)
        self.remember()

    def _add(self, state: State, legal: BoolArray) -> None:
        row = len(self)
        if (row + 1) * self.actions > self.most_entries:
            raise ValueError(
                f"expected a task of at most {self.most_entries // self.actions:,} texts to tell apart, which is what "
                f"a table of {self.most_entries:,} entries has room for with {self.actions:,} tokens, got more; a "
                "table has to see every text itself: use a task of few tokens and short texts, such as TextSpell-v0, "
                "or an agent with a language model, such as dqn"
            )
        if row == len(self._values):
            self._grow(max(64, 2 * row))
        self.states[state] = row
        self._values[row], self._visits[row], self._legal[row] = self.initial, 0, legal

    def _grow(self, rows: int) -> None:
        for name in ("_values", "_visits", "_legal"):
            old = vars(self)[name]
            new = np.zeros((rows, self.actions), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
