"""Output of the command line, in one style. Results go to stdout, progress and remarks to stderr.

What cannot be printed stops nothing: a pipe that nobody reads, a full disk behind ``>``, a terminal that is gone.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from textgym.security.escaping import printable
from textgym.types import Interval

_SHARE_BETWEEN_LINES = 0.1
_SECONDS_BETWEEN_LINES = 20.0
_WIDTH = 80


class Ticker(Protocol):
    """Something that shows progress."""

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Report that ``amount`` more is done; ``note`` replaces the remark shown beside it."""
        ...

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        ...


def out() -> Console:
    """Return the console of results."""
    return _console(sys.stdout)


def err() -> Console:
    """Return the console of progress, remarks and errors."""
    return _console(sys.stderr)


def say(text: str = "", style: str | None = None) -> None:
    """Print a line of results; square brackets and control characters in it mean nothing special."""
    out().print(_text(text), style=style, soft_wrap=True)


def remark(text: str) -> None:
    """Print a line that is no result."""
    err().print(_text(text), style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    err().print(_text(f"Warning: {_one_line(text)}"), style="yellow", soft_wrap=True)


def error(text: str) -> None:
    """Print what went wrong, as one line."""
    err().print(_text(f"Error: {_one_line(text)}"), style="bold red", soft_wrap=True)


def heading(text: str) -> None:
    """Print the title of what follows."""
    out().print()
    out().print(_text(text), style="bold", soft_wrap=True)


def number(value: float) -> str:
    """Return a number with three decimals, fewer for large ones."""
    if abs(value) < 10:
        return f"{value + 0.0:.3f}".replace("-0.000", "0.000")
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.1f}"


def with_bounds(interval: Interval) -> str:
    """Return ``"mean [low, high]"``."""
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_measures(columns: Mapping[str, Mapping[str, Interval]]) -> None:
    """Print measures as a table: one row per measure, one column per entry of ``columns``."""
    names = list(dict.fromkeys(name for measures in columns.values() for name in measures))
    table = _table("measure", *columns)
    for name in names:
        cells = [with_bounds(measures[name]) if name in measures else "-" for measures in columns.values()]
        table.add_row(_text(name), *cells)
    out().print(table)


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts."""
    table = _table(*header)
    for row in rows:
        table.add_row(*map(_text, row))
    out().print(table)


def print_side_by_side(titles: tuple[str, str], document: str, texts: tuple[str, str], limit: int = 320) -> None:
    """Print two texts about one document beside each other, under the start of the document."""
    shown = " ".join(document.split())
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, ratio=1, header_style="bold")
    table.add_row(*(_text(text or "(empty)") for text in texts))
    console = out()
    console.print()
    console.print(_text(shown if len(shown) <= limit else shown[: limit - 1] + "…"), style="dim")
    console.print(table)


@contextmanager
def progress(title: str, total: float, unit: str) -> Iterator[Ticker]:
    """Show progress with rate and time left: a bar on a terminal, now and then a line elsewhere.

    Args:
        title: Name of the bar: the work in progress.
        total: Number of units of the whole work.
        unit: Plural noun of the counted units.
    """
    console = err()
    if not console.is_terminal:
        lines = _Lines(title, total, unit)
        yield lines
        lines.finish()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bar:
        yield _Bar(bar, title, total, unit)


class _Bar:
    """Progress on a terminal."""

    def __init__(self, bar: Progress, title: str, total: float, unit: str) -> None:
        self._bar, self._unit, self._start, self._done = bar, unit, time.perf_counter(), 0.0
        self._task = bar.add_task(title, total=total, rate="", note="")

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Move the bar."""
        self._done += amount
        rate = _rate(self._done, time.perf_counter() - self._start, self._unit)
        self._bar.advance(self._task, amount)
        if note is None:
            self._bar.update(self._task, rate=rate)
        else:
            self._bar.update(self._task, rate=rate, note=note)

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        self._bar.update(self._task, total=total)


class _Lines:
    """Progress in a file or a pipe: a line for every tenth, not more often than is useful."""

    def __init__(self, title: str, total: float, unit: str) -> None:
        self._title, self._total, self._unit = title, max(total, 1e-9), unit
        self._done, self._note = 0.0, ""
        self._start = self._last = time.perf_counter()
        self._next = _SHARE_BETWEEN_LINES

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Count, and print a line if one is due."""
        self._done += amount
        self._note = self._note if note is None else note
        share, now = self._done / self._total, time.perf_counter()
        if share >= 1.0 or (share < self._next and now - self._last < 3 * _SECONDS_BETWEEN_LINES):
            return
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._print(now, share)

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        self._total = max(total, 1e-9)

    def finish(self) -> None:
        """Print the last line."""
        now = time.perf_counter()
        rate = _rate(self._done, now - self._start, self._unit)
        remark(f"{self._title}: {self._done:,.0f} {self._unit} in {duration(now - self._start)} ({rate}) {self._note}")

    def _print(self, now: float, share: float) -> None:
        elapsed = now - self._start
        left = duration(elapsed / share * (1 - share)) if share > 0 else "unknown"
        rate = _rate(self._done, elapsed, self._unit)
        counts = f"{self._done:,.0f}/{self._total:,.0f} {self._unit} ({share:.0%})"
        remark(f"{self._title}: {counts}, {rate}, about {left} left  {self._note}")
        self._last, self._next = now, share + _SHARE_BETWEEN_LINES


def _rate(done: float, seconds: float, unit: str) -> str:
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name)
    return table


def _one_line(text: str) -> str:
    """Return a text without line ends; its spaces stay, as a command in it is copied with names of files."""
    return re.sub(r"[\r\n]+", " ", text.strip("\r\n"))


def _text(text: str) -> Text:
    """Return what is printed literally: no markup, no control characters."""
    return Text(printable(text))


def finish() -> None:
    """Print what is still in buffers; where nobody reads it, the interpreter will not complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        _Stream(stream).flush()


class _Stream:
    """A text stream that never raises: what its encoding lacks is replaced, and what breaks it ends it in silence.

    Attributes:
        failed: Names of the streams that are known to be broken.
    """

    failed: set[str] = set()  # noqa: RUF012 - one for all

    def __init__(self, stream: Any) -> None:
        self._stream = io.StringIO() if stream is None else stream  # a process can be started without

    def write(self, text: str) -> int:
        """Write as much as can be."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self.write(text.encode(encoding, "replace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: closed
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Bring it out."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _give_up(self, error: Exception) -> None:
        """Send what comes, and what is still in the buffer, to nowhere; say so, unless a reader has just gone."""
        name = getattr(self._stream, "name", "?")
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # no file of the system behind it
            pass
        if name not in self.failed and not isinstance(error, BrokenPipeError):
            self.failed.add(name)
            warn(f"could not print to {name} ({error}); going on without")


def _console(stream: object) -> Console:
    # Made again each time: tests and notebooks replace sys.stdout.
    safe: Any = _Stream(stream)
    console = Console(file=safe, highlight=False)
    return console if console.is_terminal else Console(file=safe, highlight=False, width=_WIDTH)
