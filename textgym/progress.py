"""Progress of a long work: how much is done, how long the rest will take, and a line about it of any width."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

_POINTS = 256
_TICKS_TO_ESTIMATE = 3
_WIDEST_BAR, _NARROWEST_BAR = 14, 5
_SHORTEST_NOTE = 8


class Pace:
    """Estimates how long a work will take, from when how much of it was done.

    The speed is that of the latter half of what is done: the first iterations, which compile and fill caches, soon
    count no more, and evaluations that come now and then count as often as they came.

    Args:
        total: Number of units of the whole work.
        clock: Returns a time in seconds.
        in_iterations: Units come in iterations of several parts, such as sampling and updates, which do not take their
            share of the time: only whole iterations count.

    Attributes:
        done: Number of units done.
    """

    def __init__(
        self, total: float, clock: Callable[[], float] = time.perf_counter, *, in_iterations: bool = False
    ) -> None:
        self.done = 0.0
        self._total, self._clock, self._ticks = max(total, 1e-9), clock, 0
        self._in_iterations = in_iterations
        self._done, self._times = [0.0], [clock()]

    @property
    def total(self) -> float:
        """Number of units in all."""
        return self._total

    @property
    def share(self) -> float:
        """Share that is done, from 0 to 1."""
        return min(1.0, self.done / self._total)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._times[0]

    def advance(self, amount: float, *, ends_iteration: bool = False) -> None:
        """Count what is done."""
        self.done += amount
        if self._in_iterations and not ends_iteration:
            return
        self._done.append(self.done)
        self._times.append(self._clock())
        self._ticks += 1
        if len(self._done) > _POINTS:
            del self._done[1:-1:2], self._times[1:-1:2]

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        self._total = max(total, 1e-9)

    def rate(self) -> float:
        """Return the units per second."""
        return self.done / max(self.seconds, 1e-9)

    def seconds_left(self) -> float | None:
        """Return the seconds that the rest will take; ``None`` where it is too early to say."""
        if self.share >= 1:
            return 0.0
        measured = self._done[-1]
        if self._ticks < _TICKS_TO_ESTIMATE or measured <= 0:
            return None
        pace = (self._times[-1] - self._time_of(measured / 2)) / (measured / 2)
        return max(0.0, (self._total - measured) * pace - (self._clock() - self._times[-1]))

    def _time_of(self, done: float) -> float:
        """Return when so much was done, as if units were done evenly between two ticks."""
        after = bisect_left(self._done, done)
        if self._done[after] == done:
            return self._times[after]
        (low, high), (start, end) = self._done[after - 1 : after + 1], self._times[after - 1 : after + 1]
        return start + (done - low) / (high - low) * (end - start)


class Line(NamedTuple):
    """A line about progress in parts, each with the space before it; a part is empty where there is no room for it."""

    title: str
    bar: str
    rest: str
    counts: str
    note: str

    def __str__(self) -> str:
        return "".join(self)


def line_of(title: str, pace: Pace, unit: str, note: str, width: int, *, finished: bool = False) -> Line:
    """Return the line about some work that fits a width: the less room, the fewer parts.

    Args:
        title: Name of the work.
        pace: Progress so far.
        unit: Plural noun of the counted units.
        note: Remark behind the rest.
        width: Number of columns.
        finished: Nothing more is coming: tell how long it took.
    """
    share, seconds = f"{pace.share:.0%}", pace.seconds_left()
    left = "" if seconds is None else f"{duration(seconds)} left"
    clock = f"in {duration(pace.seconds)}" if finished else left
    rate = rate_of(pace.rate(), unit)
    counts = share
    for more, beside in ((f"{share}  {clock}", 0), (f"{share}  {rate}  {clock}", _NARROWEST_BAR + 1)):
        if len(title) + 2 + len(more.rstrip()) + beside <= width:
            counts = more.rstrip()
    title = title[: max(0, width - len(counts) - 2)]
    room = width - len(title) - len(counts) - 2
    cells = min(_WIDEST_BAR, room - 1)
    if cells < _NARROWEST_BAR:
        cells = 0
    filled = round(cells * pace.share)
    room -= cells + 1 if cells else 0
    note = note.strip()
    shown = note if cell_len(note) + 2 <= room else f"{set_cell_size(note, room - 3).rstrip()}…"
    fits = cell_len(shown) >= min(_SHORTEST_NOTE, cell_len(note)) > 0 and cell_len(shown) + 2 <= room
    return Line(
        f"{title} " if cells else title,
        "━" * filled,
        "─" * (cells - filled),
        f"  {counts}" if title or cells else counts,
        f"  {shown}" if fits else "",
    )


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def rate_of(rate: float, unit: str) -> str:
    """Return a number of units per second."""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"
