"""The tables of a comparison, as rows of text, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from textgym import console
from textgym.security.escaping import markdown_cell
from textgym.training.comparison.findings import findings_of, headline_of
from textgym.training.comparison.records import RunRecord
from textgym.training.comparison.results import START, TITLES, Comparison
from textgym.types import Interval

MAIN = ("reward", "gold", "kl", "length", "diversity")
_NOTHING = "-"
_MIB = 2**20


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        title: Title of the table.
        header: Titles of the columns.
        rows: The cells.
        note: Meaning of the cells; empty if there is nothing to say.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def quality_table(comparison: Comparison, measures: Sequence[str] = MAIN) -> Table:
    """Return what was measured on held-out prompts at the end: a row per agent, the best one first."""
    known = [name for name in measures if any(comparison.after(name, label) for label in comparison.labels)]
    rows = [(label, *(shown(comparison.after(name, label)) for name in known)) for label in comparison.ranked]
    start = [comparison.start(name) for name in known]
    if any(start):
        rows.append((START, *(shown(each) for each in start)))
    header = ("agent", *(TITLES.get(name, name) for name in known))
    note = (
        "Interquartile means over seeds, with 95 % bootstrap intervals. KL is to the start model; diversity is 1 minus "
        "Self-BLEU."
    )
    return Table("Held-out texts after training", header, rows, note)


class Cost(NamedTuple):
    """A column of the table of costs.

    Attributes:
        of_run: The number of a run; ``None`` where it has none.
        digits: Decimals that are shown.
        is_of_training: Whether it is nothing of an agent that learns nothing.
    """

    of_run: Callable[[RunRecord], float | None]
    digits: int = 0
    is_of_training: bool = True


def speed_of(run: RunRecord) -> float | None:
    """Return the tokens of a second of training; ``None`` where nothing was trained, or tokens are not counted."""
    return run.spent.tokens / run.spent.seconds if run.spent.tokens and run.spent.seconds else None


_COSTS: Mapping[str, Cost] = {
    "tokens": Cost(lambda run: run.spent.tokens),
    "labels": Cost(lambda run: run.spent.labels),
    "seconds": Cost(lambda run: run.spent.seconds, 1),
    "tokens/s": Cost(speed_of),
    "peak memory, MiB": Cost(lambda run: None if run.memory is None else run.memory / _MIB, is_of_training=False),
    "GPU memory, MiB": Cost(
        lambda run: None if run.gpu_memory is None else run.gpu_memory / _MIB, is_of_training=False
    ),
    "evaluation, s": Cost(lambda run: run.evaluation_seconds, 1, is_of_training=False),
}


def cost_table(comparison: Comparison) -> Table:
    """Return what the runs cost: a row per agent."""
    cells = {
        label: {name: _cost(comparison, label, cost) for name, cost in _COSTS.items()} for label in comparison.ranked
    }
    kept = [name for name in _COSTS if any(row[name] for row in cells.values())]
    rows = [
        (label, _runs(comparison, label), *(shown(found[name], _COSTS[name].digits) for name in kept))
        for label, found in cells.items()
    ]
    note = (
        "Seconds are those of training alone; peak memory is that of the whole process, libraries and evaluation "
        "included; the evaluation is the last one."
    )
    return Table("Cost", ("agent", "runs", *kept), rows, note)


def _cost(comparison: Comparison, label: str, cost: Cost) -> Interval | None:
    if cost.is_of_training and not any(run.learns for run in comparison.runs_of(label)):
        return None
    return comparison.cost(label, cost.of_run)


def improvement_table(comparison: Comparison, measure: str = "reward", *, bounds: bool = True) -> Table:
    """Return how likely a run of the agent of a row scores more than one of the agent of a column."""
    labels = [label for label in comparison.ranked if comparison.after(measure, label)]
    rows = []
    for label in labels:
        found = [None if label == over else comparison.improvement(measure, label, over) for over in labels]
        cells = [_NOTHING if each is None else share(each) if bounds else f"{each.mean:.2f}" for each in found]
        rows.append((label, *cells))
    title = f"Probability that a run of the row has more {measure} than one of the column"
    return Table(title, ("", *labels), rows)


def markdown_of(comparison: Comparison) -> str:
    """Return headline, tables and findings as Markdown."""
    parts = [headline_of(comparison), ""]
    tables = [quality_table(comparison), cost_table(comparison)]
    if len(comparison.labels) > 1:
        tables.append(improvement_table(comparison, bounds=False))
    for table in tables:
        parts += [f"**{table.title}**", "", *markdown_rows(table), "", *([table.note, ""] if table.note else [])]
    for label in comparison.ranked:
        parts += [f"**{label}**: {' '.join(findings_of(comparison, label))}", ""]
    return "\n".join(parts)


def markdown_rows(table: Table) -> list[str]:
    """Return a table as lines of Markdown, whose columns are aligned for readers of the text.

    Names of measures are somebody's; labels of agents and numbers have nothing that Markdown would follow.
    """
    cells = [[markdown_cell(cell) for cell in table.header], *table.rows]
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(table.header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def shown(interval: Interval | None, digits: int | None = None) -> str:
    """Return a mean with its bounds, as far as they are known, with so many decimals, or as many as are usual."""
    if interval is None:
        return _NOTHING
    mean, low, high = (console.number(each) if digits is None else f"{each:,.{digits}f}" for each in interval)
    return mean if not math.isfinite(interval.low + interval.high) or low == high else f"{mean} [{low}, {high}]"


def share(interval: Interval) -> str:
    """Return a probability with its bounds, if they differ."""
    bounds = f" [{interval.low:.2f}, {interval.high:.2f}]" if interval.low < interval.high else ""
    return f"{interval.mean:.2f}{bounds}"


def _runs(comparison: Comparison, label: str) -> str:
    """Return how many runs are finished, out of how many there are."""
    done, every = len(comparison.finished(label)), len(comparison.runs_of(label))
    return str(done) if done == every else f"{done} of {every}"
