"""Output of the command line, in one style. Results go to stdout, progress and remarks to stderr.

What cannot be printed stops nothing: a pipe that nobody reads, a full disk behind ``>``, a terminal that is gone.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich import box
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.table import Table
from rich.text import Text

from textgym.progress import Pace, line_of, rate_of
from textgym.progress import duration as duration
from textgym.security.escaping import printable
from textgym.types import Interval

_SHARE_BETWEEN_LINES = 0.1
_SECONDS_BETWEEN_LINES = 20.0
_WIDTH = 80
_REFRESHES = 4
"""How often a bar is drawn in a second."""


class Ticker(Protocol):
    """Something that shows progress."""

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Report that ``amount`` more is done; ``note`` replaces the remark shown beside it."""
        ...

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        ...


def mute() -> None:
    """Print nothing but errors from now on, in a process that is one of several and does not speak for them."""
    _Stream.muted = True


def is_muted() -> bool:
    """Return whether this process prints errors only."""
    return _Stream.muted


def out() -> Console:
    """Return the console of results."""
    return _console(io.StringIO() if is_muted() else sys.stdout)


def err() -> Console:
    """Return the console of progress, remarks and errors."""
    return _console(io.StringIO() if is_muted() else sys.stderr)


def width() -> int | None:
    """Return the columns of the terminal that results are printed in; ``None`` for a file or a pipe."""
    found = out()
    return found.width if found.is_terminal else None


def say(text: str = "", style: str | None = None) -> None:
    """Print a line of results; square brackets and control characters in it mean nothing special."""
    out().print(_text(text), style=style, soft_wrap=True)


def remark(text: str) -> None:
    """Print a line that is no result."""
    err().print(_text(text), style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    err().print(_text(f"Warning: {_one_line(text)}"), style="yellow", soft_wrap=True)


def notice(text: str) -> None:
    """Print how a command ended that its user stopped, as one line."""
    err().print(_text(_one_line(text)), style="bold", soft_wrap=True)


def error(text: str) -> None:
    """Print what went wrong, as one line."""
    _console(sys.stderr).print(_text(f"Error: {_one_line(text)}"), style="bold red", soft_wrap=True)


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
def progress(
    title: str,
    total: float,
    unit: str,
    clock: Callable[[], float] = time.perf_counter,
    *,
    in_iterations: bool = False,
) -> Iterator[Ticker]:
    """Show progress with rate and time left: a bar on a terminal, now and then a line elsewhere.

    Args:
        title: Name of the bar: the work in progress.
        total: Number of units of the whole work.
        unit: Plural noun of the counted units.
        clock: Returns a time in seconds.
        in_iterations: The end of an iteration is told with a note; the time left is estimated from whole iterations.
    """
    console, pace = err(), Pace(total, clock, in_iterations=in_iterations)
    if not console.is_terminal:
        lines = _Lines(title, pace, unit)
        yield lines
        lines.finish()
        return
    bar = _Bar(title, pace, unit)
    with Live(bar, console=console, refresh_per_second=_REFRESHES) as live:
        try:
            yield bar
        finally:
            bar.finished = True
            live.refresh()


class _Bar:
    """Progress on a terminal, in one line of it."""

    def __init__(self, title: str, pace: Pace, unit: str) -> None:
        self._title, self._pace, self._unit, self._note = title, pace, unit, ""
        self.finished = False

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Move the bar."""
        self._pace.advance(amount, ends_iteration=note is not None)
        self._note = self._note if note is None else note

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        self._pace.resize(total)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw it; the last column stays free, as some terminals wrap a line that fills it."""
        width = options.max_width - 1
        line = line_of(self._title, self._pace, self._unit, self._note, width, finished=self.finished)
        bar, rest = (line.bar, line.rest) if not options.ascii_only else ("#" * len(line.bar), "-" * len(line.rest))
        parts = ((line.title, ""), (bar, "green"), (rest, "dim"), (line.counts, ""), (line.note, "dim"))
        yield Text.assemble(*((printable(text), style) for text, style in parts), no_wrap=True, overflow="crop")


class _Lines:
    """Progress in a file or a pipe: a line for every tenth, not more often than is useful."""

    def __init__(self, title: str, pace: Pace, unit: str) -> None:
        self._title, self._pace, self._unit, self._note = title, pace, unit, ""
        self._last, self._next = 0.0, _SHARE_BETWEEN_LINES

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Count, and print a line if one is due."""
        self._pace.advance(amount, ends_iteration=note is not None)
        self._note = self._note if note is None else note
        quiet = self._pace.seconds - self._last
        is_due = self._pace.share >= self._next or quiet >= 3 * _SECONDS_BETWEEN_LINES
        if self._pace.share < 1.0 and is_due and quiet >= _SECONDS_BETWEEN_LINES:
            self._print()

    def resize(self, total: float) -> None:
        """Correct how much there is to do."""
        self._pace.resize(total)

    def finish(self) -> None:
        """Print the last line."""
        done, rate = f"{self._pace.done:,.0f} {self._unit}", rate_of(self._pace.rate(), self._unit)
        remark(f"{self._title}: {done} in {duration(self._pace.seconds)} ({rate}) {self._note}")

    def _print(self) -> None:
        pace, seconds = self._pace, self._pace.seconds_left()
        left = "" if seconds is None else f", about {duration(seconds)} left"
        counts = f"{pace.done:,.0f}/{pace.total:,.0f} {self._unit} ({pace.share:.0%})"
        remark(f"{self._title}: {counts}, {rate_of(pace.rate(), self._unit)}{left}  {self._note}")
        self._last, self._next = pace.seconds, pace.share + _SHARE_BETWEEN_LINES


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, overflow="fold")  # on another line, in place of "..."
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
        muted: Whether this process prints errors only.
    """

    failed: set[str] = set()  # noqa: RUF012 - one for all
    muted = False

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
            warn(f"could not print to {name} ({error}); continuing without")


def _console(stream: object) -> Console:
    # Made again each time: tests and notebooks replace sys.stdout.
    safe: Any = _Stream(stream)
    console = Console(file=safe, highlight=False)
    return console if console.is_terminal else Console(file=safe, highlight=False, width=_WIDTH)
