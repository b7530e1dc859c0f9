"""The records of a training: a list that plots itself, and that a notebook shows as its course in a table and plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textgym import console
from textgym.pages import image, svg_of, table
from textgym.plots import PLAIN, Labels, Row, plot_history

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COURSE = ("measure", "first", "last", "lowest", "highest", "course")
"""Titles of the table of courses."""
_MEASURES = ("reward", "gold", "success", "kl", "length", "entropy", "eos", "cut", "accuracy", "loss", "grad_norm")
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24


class Course(NamedTuple):
    """The course of a number of the records, from the first to the last.

    Attributes:
        name: Name of the number.
        values: The numbers that are finite, in their order; at least one.
    """

    name: str
    values: tuple[float, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells under :data:`COURSE`."""
        ends = (self.values[0], self.values[-1], min(self.values), max(self.values))
        return self.name, *map(console.number, ends), sparkline(self.values)


def courses_of(records: Sequence[Row]) -> list[Course]:
    """Return the courses of what is usually looked at, as far as the records know it."""
    found = {name: tuple(_finite(record.get(name) for record in records)) for name in _MEASURES}
    return [Course(name, values) for name, values in found.items() if values]


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return a line of bars, each the mean of as many values; where all are the same, they are low.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7]), sparkline([5, 5])
    ('▁▂▃▄▅▆▇█', '▁▁')
    """
    count = min(width, len(values))
    parts = [values[place * len(values) // count : (place + 1) * len(values) // count] for place in range(count)]
    means = [math.fsum(part) / len(part) for part in parts]
    low, size = min(means), max(means) - min(means)
    return "".join(_BARS[0 if size <= 0 else min(7, int(8 * (mean - low) / size))] for mean in means)


class History(list[dict[str, float]]):
    """A list of records (name -> number), one per iteration, with ``timesteps`` in each.

    Args:
        records: The records.
        title: Title of the plot.
    """

    def __init__(self, records: Iterable[dict[str, float]] = (), title: str = "") -> None:
        super().__init__(records)
        self.title = title

    def plot(self, file: str | Path | None = None, *, labels: Labels = PLAIN) -> Figure:
        """Plot reward, KL, length, entropy and share of finished texts, or the loss, as far as they are known.

        Args:
            file: Where the figure goes too, as a PNG file; ``None`` for nowhere.
            labels: Unit of the steps, and name of the reward.

        Returns:
            The figure; a notebook shows it where it is the last line of a cell.
        """
        return plot_history(self, file, title=self.title, labels=labels)

    def _repr_html_(self) -> str:
        """Return courses and plots; IPython asks for it."""
        if not self:
            return "<p>No records yet.</p>"
        rows = [course.cells for course in courses_of(self)]
        return f"{table(COURSE, rows)}{image(svg_of(self.plot()), 'Plots of the training')}"


def _finite(values: Iterable[float | None]) -> Iterable[float]:
    return (float(value) for value in values if value is not None and math.isfinite(value))
