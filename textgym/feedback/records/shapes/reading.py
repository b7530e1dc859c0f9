"""Rows read by the shape that they are recognised to have, and an account of what was read, and what was not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from textgym.errors import UnknownShapeError
from textgym.feedback.records.shapes.cells import Cells, Tally, is_null
from textgym.feedback.records.shapes.grades import RATINGS, RESPONSES
from textgym.feedback.records.shapes.prompts import PROMPTS
from textgym.feedback.records.shapes.shape import Need, Shape
from textgym.feedback.records.shapes.table import SHAPES
from textgym.feedback.types import Record
from textgym.text.plurals import counted
from textgym.types import JsonObject

_LOOKED_AT = 100  # rows by which a shape is recognised
_MOST_NAMED = 12  # columns
_CELL_SHOWN = 40  # characters
_ANSWERS = {*RESPONSES, "demonstration", "reference", "summary", "target"}
_CHATS = {"messages", "conversations"}
_JUDGED = {"label", "labels", "rank", "chosen", "rejected", *RATINGS}
_OWN = '{"kind": "rating", "task_key": "k1", "prompt": "Sky?", "response": "Red.", "rating": 1}'


class PlacedRow(NamedTuple):
    """A row, its number in the file from 0 on, and its place for messages, such as ``"votes.csv:3"``."""

    number: int
    place: str
    row: JsonObject


@dataclass(frozen=True, slots=True)
class ShapedRows:
    """The rows of one shape in a file, and what came of them.

    Attributes:
        shape: The shape.
        rows: The rows, in their order.
        tally: Account of what was read of them.
        records: Records, each with the number of its row.
    """

    shape: Shape
    rows: list[Cells] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    records: list[tuple[int, Record]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Say which shape was read as what, which columns are not used, and what was left out."""
        read = f"Read as: {self.shape.name}, {counts(record for _, record in self.records)}"
        unused = [name for name in _columns(self.rows) if name not in self.tally.used]
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        columns = f"; columns not used: {', '.join(unused[:_MOST_NAMED])}{more}" if unused else ""
        about = [counted(count, what) for what, count in self.tally.notes.items()]
        left = [f"left out: {what}" for what in self.left_out]
        details = [detail for detail in (self.shape.says, *about, *left) if detail]
        return [f"{read}{columns}", *([f"({'; '.join(details)})"] if details else [])]

    @property
    def left_out(self) -> list[str]:
        """Rows and parts of rows that make no record, with their numbers."""
        return [counted(count, what) for what, count in self.tally.left_out.items()]


def counts(records: Iterable[Record]) -> str:
    """Say how many records of each kind there are."""
    found = Counter(type(record).__name__ for record in records)
    names = {"ImplicitFeedback": "observations of behaviour"}
    parts = [counted(count, names.get(name, f"{name.lower()}s")) for name, count in found.items()]
    return ", ".join(parts) or "no records"


def _columns(rows: Sequence[Cells]) -> list[str]:
    held = (name for cells in rows for name, value in cells.row.items() if not is_null(value) and value != "")
    return list(dict.fromkeys(held))


def read_shaped(rows: Sequence[PlacedRow]) -> list[ShapedRows]:
    """Read rows, those with the same columns by the same shape.

    Args:
        rows: The rows of a file.

    Raises:
        UnknownShapeError: Rows have no shape that is known; the message lists all.
        DataError: A row is not what its shape is.
    """
    found: dict[str, ShapedRows] = {}
    for group in _with_same_columns(rows):
        shape = recognise([row for _, _, row in group])
        if shape is None:
            raise unknown_shape(group)
        own = found.setdefault(shape.name, ShapedRows(shape))
        own.rows.extend(Cells(*row, own.tally) for row in group)
    for own in found.values():
        own.rows.sort(key=lambda cells: cells.number)
        own.records.extend((cells.number, record) for cells, record in own.shape.read(own.rows))
    return list(found.values())


def _with_same_columns(rows: Iterable[PlacedRow]) -> list[list[PlacedRow]]:
    groups: dict[frozenset[str], list[PlacedRow]] = {}
    for row in rows:
        groups.setdefault(frozenset(row.row), []).append(row)
    return list(groups.values())


def recognise(rows: Sequence[JsonObject]) -> Shape | None:
    """Return the first shape that rows with the same columns have; ``None`` if there is none."""
    columns = _held(rows)
    return next((shape for shape in SHAPES if not shape.lacks(columns)), None)


def _held(rows: Sequence[JsonObject]) -> Mapping[str, Sequence[object]]:
    """Return the cells of each column that hold something, in the first rows."""
    names = dict.fromkeys(name for row in rows[:_LOOKED_AT] for name in row)
    return {name: [row[name] for row in rows[:_LOOKED_AT] if not is_null(row.get(name))] for name in names}


def unknown_shape(rows: Sequence[PlacedRow]) -> UnknownShapeError:
    """Return the error about rows of which no shape is known; it lists all that are."""
    given = [row for _, _, row in rows]
    columns = ", ".join(map(str, list(given[0])[:_MOST_NAMED])) or "nothing"
    shapes = "\n".join(f"  {name}: {line}" for name, line in listing())
    return UnknownShapeError(
        f"{rows[0].place}: expected feedback in one of the shapes below, got the columns {columns}.{_hint(given)}"
        f"{_of_demonstrations(given, rows[0].place)} "
        f"Rename the columns or convert the file (docs/data.md).\n{shapes}"
    )


def listing() -> list[tuple[str, str]]:
    """Return the name of every shape, with an example as a line of JSON; the short ones first."""
    shapes = [*((shape.name, shape.example_line) for shape in SHAPES), ("records of textgym", _OWN)]
    return sorted(shapes, key=lambda shape: len(shape[1]))


def _hint(rows: Sequence[JsonObject]) -> str:
    """Say which shape rows have most of, if it is half of it."""
    columns = _held(rows)
    lacking = [(shape, shape.lacks(columns)) for shape in SHAPES]
    shape, needs = min(lacking, key=lambda each: (len(each[1]) / len(each[0].needs), _absent(each[1], columns)))
    if 2 * len(needs) > len(shape.needs):
        return ""
    return f" Closest is {shape.name!r}, which also has {' and '.join(_wanted(need, columns) for need in needs)}."


def _of_demonstrations(rows: Sequence[JsonObject], place: str) -> str:
    """Say what learns from prompts with one answer each, or from whole conversations, which compare nothing."""
    columns = {name for name, cells in _held(rows).items() if cells}
    is_answered = bool(columns & set(PROMPTS)) and len(columns & _ANSWERS) == 1
    if columns & _JUDGED or not (is_answered or columns & _CHATS):
        return ""
    file, _, _ = place.rpartition(":")
    return (
        " If these are good answers to imitate, demonstrations without others to compare them with, train on them "
        f"with: textgym sft --data {shlex.quote(file)}."
    )


def _absent(needs: Sequence[Need], columns: Mapping[str, Sequence[object]]) -> int:
    """Return how many columns are not there; others hold something else."""
    return sum(columns.keys().isdisjoint(need.names) for need in needs)


def _wanted(need: Need, columns: Mapping[str, Sequence[object]]) -> str:
    others = [repr(cell)[:_CELL_SHOWN] for name in need.names for cell in columns.get(name, ())]
    instead = f"; not {others[0]}" if others else ""
    return f"{' or '.join(need.names[:2])} ({need.kind.name}{instead})"
