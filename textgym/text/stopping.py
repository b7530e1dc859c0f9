"""Stop strings: found token by token with one table look-up, without decoding any text."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from textgym.values import as_text


@dataclass(frozen=True, eq=False)
class StopTable:
    """An Aho-Corasick automaton over the bytes of tokens.

    State 0 is the start; a text goes on from state ``s`` with token ``t`` in state ``table[s, t]``. Spaces at the start
    of a text belong to no stop string: they are what joins a response to its prompt, and no part of what is scored.

    Attributes:
        stops: The stop strings.
        table: Next states, shape ``(states, vocab_size)``, int32. Tokens without bytes (special ones) keep the state.
        hit: States after a stop string has occurred, as flags of shape ``(states,)``; they are never left.
    """

    stops: tuple[str, ...]
    table: npt.NDArray[np.int32]
    hit: npt.NDArray[np.bool_]

    def cut(self, text: str) -> str:
        """Return ``text`` before its first stop string, or all of it."""
        return cut_at_stop(text, self.stops)

    def end(self, ids: Sequence[int]) -> int | None:
        """Return how many of a text's ids there are up to its first stop string; ``None`` if it has none."""
        state = 0
        for count, token in enumerate(ids if self.stops else (), start=1):
            state = int(self.table[state, token])
            if self.hit[state]:
                return count
        return None


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """Return ``text`` before the first of ``stops`` behind the spaces it begins with, or all of it."""
    start = len(text) - len(text.lstrip(" "))
    ends = [position for stop in stops if (position := text.find(stop, start)) >= 0]
    return text[: min(ends)] if ends else text


def build_stop_table(stops: Sequence[str], tokens: Sequence[bytes]) -> StopTable:
    """Build the automaton for ``stops`` over a vocabulary of byte strings.

    Args:
        stops: Non-empty strings; none at all is legal and never hits.
        tokens: Bytes of every token, ``vocab_size`` of them.

    Raises:
        ValueError: A stop string is empty.
        TypeError: ``stops`` is one string instead of a sequence of them.
    """
    if isinstance(stops, str):
        raise TypeError(f"expected a sequence of stop strings, got the string {stops!r}; write stop=({stops!r},)")
    if not all(as_text(stop) for stop in stops):
        raise ValueError(f"expected non-empty stop strings, got {list(stops)!r}; remove the empty ones")
    byte_table, hit = _byte_automaton([stop.encode() for stop in stops])
    if any(stop.startswith(" ") for stop in stops):
        byte_table, hit = _skip_first_spaces(byte_table, hit)
    return StopTable(tuple(stops), _lift(byte_table, tokens), hit)


def _byte_automaton(stops: Sequence[bytes]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return next states by byte, shape ``(states, 256)``, and the states that are hits (Aho & Corasick 1975)."""
    children: list[dict[int, int]] = [{}]
    hits = set[int]()
    for stop in stops:
        state = 0
        for byte in stop:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        hits.add(state)
    return _close(children, hits)


def _close(children: Sequence[dict[int, int]], hits: set[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Fill in the failure transitions of a trie, nearest states first, and make hits absorbing."""
    table = np.zeros((len(children), 256), dtype=np.int32)
    hit = np.zeros(len(children), dtype=np.bool_)
    hit[list(hits)] = True
    queue = deque([(0, 0)])  # (state, the state of its longest proper suffix)
    while queue:
        state, suffix = queue.popleft()
        hit[state] |= hit[suffix]
        fallback = table[suffix].copy() if state else np.zeros(256, dtype=np.int32)
        table[state] = fallback
        for byte, child in children[state].items():
            table[state, byte] = child
            queue.append((child, int(fallback[byte])))
    states = np.flatnonzero(hit)
    table[states] = states[:, None]
    return table, hit


def _skip_first_spaces(
    table: npt.NDArray[np.int32], hit: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Put a state before the first that spaces do not leave; any other byte counts as in the old first state."""
    waiting = table[:1] + 1
    waiting[0, ord(" ")] = 0
    return np.concatenate([waiting, table + 1]), np.concatenate([[False], hit])


def _lift(byte_table: npt.NDArray[np.int32], tokens: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """Return next states by token, shape ``(states, len(tokens))``: all tokens walk the automaton side by side."""
    states: npt.NDArray[np.int32] = np.repeat(
        np.arange(len(byte_table), dtype=np.int32)[:, None], len(tokens), axis=1
    )  # (S, V)
    lengths: npt.NDArray[np.int64] = np.array([len(token) for token in tokens])
    for position in range(int(lengths.max(initial=0))):
        long_enough = np.flatnonzero(lengths > position)
        column = np.array([tokens[int(token)][position] for token in long_enough])
        states[:, long_enough] = byte_table[states[:, long_enough], column]
    return states
