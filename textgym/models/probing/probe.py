"""The states of a trunk for a few tokens, computed in several ways that ought to agree.

Everything is compared with the bare trunk on unpadded rows, called with ids alone. How far two ways may be apart is
measured too: the *noise* is what another batch layout does to the same rows, the *signal* what one changed token does
to the states after it. Equal is below 10 x noise or a thousandth of the signal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from textgym.errors import ModelError, is_out_of_memory
from textgym.models.batch import TextBatch
from textgym.models.decoding.continuation import Prompts, continued
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.probing.trunk import CACHE_NAMES, PLAIN_SETS, Trunk

_NOISES = 10.0  # of noise, and
_OF_SIGNAL = 1e-3  # of the signal, that a difference between equal states may be
_OF_SIGNAL_IN_HALF = 0.5
_CLEAR = 10.0  # times as much is no doubt any more
_UNDECIDED = 0.3  # of the signal: where noise allows so much, nothing can be seen
_EPSILONS = 4.0  # of a type: states of one size are no nearer than that
_Result = TypeVar("_Result")


class Attempt(NamedTuple, Generic[_Result]):
    """The outcome of a call: a value or an error.

    Attributes:
        value: Result of the call; ``None`` if it raised.
        error: Exception of the call; ``None`` if it returned.
    """

    value: _Result | None
    error: Exception | None

    @property
    def reason(self) -> str:
        """First line of the error, with its class unless it is one of our own; empty if there is none."""
        if self.error is None:
            return ""
        kind = "" if isinstance(self.error, ModelError) else f"{type(self.error).__name__}: "
        return f"{kind}{self.error}".partition("\n")[0]


class Deviation(NamedTuple):
    """The deviation of states from the expected ones.

    Attributes:
        size: Largest difference.
        allowed: How large it may be.
        clear: Difference above which the states are certainly wrong.
        signal: Difference that one changed token makes, at the place where it makes least.
    """

    size: float
    allowed: float
    clear: float
    signal: float

    @property
    def is_none(self) -> bool:
        """Return whether the states are equal."""
        return self.size <= self.allowed

    @property
    def is_clear(self) -> bool:
        """Return whether it is more than doubt."""
        return self.size > self.clear

    @property
    def is_undecided(self) -> bool:
        """Return whether noise hides what a mistake would do."""
        return self.allowed > _UNDECIDED * self.signal


@dataclass(frozen=True)
class Cached:
    """The result of probing whether cached keys and values continue a text.

    Attributes:
        name: The argument that takes the cache; ``None`` if there is none that works.
        reason: Why not; empty if they do.
        deviation: The largest that was found.
    """

    name: str | None
    reason: str
    deviation: Deviation | None = None

    @property
    def is_undecided(self) -> bool:
        """Return whether noise hides what a mistake would do."""
        return self.deviation is not None and self.deviation.is_none and self.deviation.is_undecided


class Lengths(NamedTuple):
    """Tokens of the rows that are decoded in parallel, the longest first."""

    long: int
    short: int
    middle: int

    @classmethod
    def upto(cls, tokens: int) -> Lengths:
        """A row of ``tokens`` tokens, one of at most five, and one half as long."""
        return cls(tokens, max(3, min(5, tokens // 2)), max(3, tokens // 2))


class Oracle:
    """States of the bare trunk on unpadded rows, and how far equal ones may be apart.

    Args:
        states: (3, T, H) of one row, of it with tokens changed at ``changed``, and with all tokens changed from
            ``later`` on.
        alone: (1, T, H) of the first row by itself.
        changed: Places whose tokens differ in the second row.
        later: Where the third row begins to differ.
    """

    def __init__(self, states: Tensor, alone: Tensor, changed: list[int], later: int) -> None:
        self.states, self.alone = states, alone
        # Even models in float64 compute parts in fp32.
        rounding = _EPSILONS * max(torch.finfo(alone.dtype).eps, torch.finfo(torch.float32).eps) * _size(alone)
        after = [place + 1 for place in changed]
        self.signal = float((states[1] - states[0])[after].abs().amax(-1).min())
        noise = max(_size(states[0] - alone[0]), rounding)
        # In half precision another layout may send a token to another expert: there the narrow copy decides.
        share = _OF_SIGNAL if torch.finfo(alone.dtype).bits > 16 else _OF_SIGNAL_IN_HALF
        self.allowed = max(_NOISES * noise, share * self.signal)
        # Rows of one batch are computed alike, so that rounding alone is noise here.
        moved, allowed = _size(states[2, :later] - states[0, :later]), max(rounding, _OF_SIGNAL * self.signal)
        self.causality = Deviation(moved, allowed, max(2 * rounding, _CLEAR * _OF_SIGNAL * self.signal), self.signal)

    def compare(self, ours: Tensor, theirs: Tensor) -> Deviation:
        """Return how far two tensors of states are apart."""
        return Deviation(_size(ours.double() - theirs.double()), self.allowed, _CLEAR * self.allowed, self.signal)

    def compare_last(self, ours: Tensor, lengths: list[int]) -> Deviation:
        """Return how far states (B, H) are from those that rows of these lengths end with."""
        return self.compare(ours, self.alone[0, [length - 1 for length in lengths]])


def _size(states: Tensor) -> float:
    """The largest magnitude; infinite where it is no number."""
    size = float(states.abs().max())
    return size if size == size else float("inf")


def probe_rows(ids: Tensor, lengths: Lengths, vocabulary: range) -> tuple[Tensor, list[int], int]:
    """Rows (3, T) for an :class:`Oracle` out of one row (T,), where the second is changed, and from where the third."""
    rows = ids[None].repeat(3, 1)
    changed = sorted({max(0, length - 4) for length in lengths})
    later = max(1, lengths.long // 2)
    rows[1, changed] = _others(rows[1, changed], vocabulary)
    rows[2, later:] = _others(rows[2, later:], vocabulary)
    return rows, changed, later


def _others(ids: Tensor, vocabulary: range) -> Tensor:
    return (ids - vocabulary.start + 1) % len(vocabulary) + vocabulary.start


def plain_arguments(trunk: Trunk, oracle: Oracle, ids: Tensor, short: int) -> tuple[Trunk, Deviation | None]:
    """The trunk with arguments that give padded rows the states of unpadded ones, and how far off the best ones are.

    Args:
        trunk: Is called.
        oracle: Expected states of ``ids``.
        ids: (T,).
        short: Length of a second row, which is padded.
    """
    rows = torch.stack([ids, ids])
    rows[1, short:] = ids.flip(0)[short:]  # what lies behind a row's end must not matter
    best, least = trunk, None
    for plain in PLAIN_SETS:
        candidate = trunk.taking(plain=plain)
        states = attempt(candidate.token_states, rows).value
        if states is None:
            continue
        found = max(
            oracle.compare(states[0], oracle.alone[0]), oracle.compare(states[1, :short], oracle.alone[0, :short])
        )
        if least is None or found < least:
            best, least = candidate, found
        if found.is_none:
            break
    return best, least


def probe_cache(trunk: Trunk, oracle: Oracle, ids: Tensor, lengths: Lengths, *, thorough: bool) -> Cached:
    """Return whether keys and values continue texts as rollouts (and, if ``thorough``, updates) need it.

    Args:
        trunk: With arguments that work uncached, and the one for the cache if it is known.
        oracle: Expected states of ``ids``.
        ids: (T,).
        lengths: Lengths of the rows that are decoded in parallel.
        thorough: Begin a row again, and continue several tokens at once.
    """
    reasons: list[Cached] = []
    for name in sorted(CACHE_NAMES, key=lambda name: name != trunk.arguments.cache):  # one that worked before is first
        decoded = attempt(_decode, trunk.taking(cache=name), oracle, ids, lengths, thorough=thorough)
        found = decoded.value
        if found is not None and found.is_none:
            return Cached(name, "", found)
        reasons.append(_too_far(found) if found is not None else _failed(decoded.reason))
    # The name that got furthest tells most.
    return max(reasons, key=lambda each: each.deviation is not None)


def _too_far(found: Deviation) -> Cached:
    reason = (
        f"texts continued from keys and values end in other states (off by {found.size:.2g}, where one changed "
        f"token makes {found.signal:.2g})"
    )
    return Cached(None, reason, found)


def _failed(reason: str) -> Cached:
    return Cached(None, f"it keeps no keys and values that can be used ({reason.partition(';')[0]})")


def _decode(trunk: Trunk, oracle: Oracle, ids: Tensor, lengths: Lengths, *, thorough: bool) -> Deviation:
    """The largest deviation of rows that are decoded in parallel, as rollouts do it."""
    sizes = [lengths.long - 2, lengths.short - 2, *([lengths.middle - 2] if thorough else [])]
    worst: list[Deviation] = []
    store = KeyValueStore(trunk, len(sizes), lengths.long)
    worst.append(oracle.compare_last(_prefill(store, ids, range(len(sizes)), sizes), sizes))
    for step in range(2 if thorough else 1):
        if step == 1:  # the last row begins again, in columns that hold something else
            sizes[-1] = lengths.short - 1
            worst.append(oracle.compare_last(_prefill(store, ids, [len(sizes) - 1], sizes[-1:]), sizes[-1:]))
        states = store.extend(ids[sizes])
        sizes = [size + 1 for size in sizes]
        worst.append(oracle.compare_last(states, sizes))
    if thorough:
        worst.append(_continue(trunk, oracle, ids, lengths))
    return max(worst)


def _prefill(store: KeyValueStore, ids: Tensor, rows: list[int] | range, sizes: list[int]) -> Tensor:
    width = max(sizes)
    padded = ids[:width].repeat(len(sizes), 1)
    for row, size in zip(padded, sizes, strict=True):
        row[size:] = ids.flip(0)[size:width]
    return store.prefill(
        torch.tensor(list(rows), device=ids.device),
        TextBatch.of_ids(padded, torch.tensor(sizes, device=ids.device)),
    )


def _continue(trunk: Trunk, oracle: Oracle, ids: Tensor, lengths: Lengths) -> Deviation:
    """The deviation of rows that are continued from shared beginnings, as updates do it."""
    starts = torch.tensor([lengths.long - 2, lengths.short - 2, lengths.short - 2], device=ids.device)
    which = torch.tensor([0, 1, 1], device=ids.device)
    prompts = Prompts(ids[: lengths.long - 2].repeat(2, 1), which, starts, 2)
    states = continued(trunk, ids.repeat(3, 1), prompts)  # (3, 3, H)
    places = (starts[:, None] - 1) + torch.arange(3, device=ids.device)
    return oracle.compare(states, oracle.alone[0, places])


def attempt(compute: Callable[..., _Result], *arguments: Any, **named: Any) -> Attempt[_Result]:
    """Call ``compute``, which returns something: whatever another library's code raises means no."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Attempt(compute(*arguments, **named), None)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return Attempt(None, error)
