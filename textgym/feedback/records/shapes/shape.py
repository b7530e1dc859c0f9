"""A shape of feedback: how it is recognised, how its rows become records, and an example of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from textgym.errors import DataError
from textgym.feedback.records.shapes.cells import ANYTHING, Cells, Kind, UnusableError
from textgym.feedback.types import Record
from textgym.types import JsonObject

Read = Callable[[Sequence[Cells]], Sequence[tuple[Cells, Record]]]
"""Makes records of the rows of a shape, each with the row it is placed at."""


class Need(NamedTuple):
    """A column that a shape has.

    Attributes:
        names: Names, of which a file has one.
        kind: Kind of its cells.
    """

    names: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape of feedback.

    Attributes:
        name: Name of the data set, the trainer or the table that is shaped so.
        read: Function that makes records of its rows.
        says: Remark about what records do not keep, and what was decided; may be empty.
        example: Row of it.
        needs: Columns by which it is recognised.
    """

    name: str
    read: Read
    says: str
    example: JsonObject
    needs: tuple[Need, ...]

    def lacks(self, columns: Mapping[str, Sequence[object]]) -> list[Need]:
        """Return the columns that a file lacks to have this shape.

        Args:
            columns: Cells of a few rows that hold something, by the name of their column.
        """
        return [need for need in self.needs if not any(_fits(columns.get(name), need.kind) for name in need.names)]

    @property
    def example_line(self) -> str:
        """The example as a line of JSON."""
        return json.dumps(self.example, ensure_ascii=False)


def shape(name: str, read: Read, says: str, example: JsonObject, needs: Mapping[str, Kind]) -> Shape:
    """Return a shape; a key of ``needs`` is a column, or the names that it may have, parted by ``|``."""
    return Shape(name, read, says, example, tuple(Need(tuple(names.split("|")), kind) for names, kind in needs.items()))


def each(read: Callable[[Cells], Record]) -> Read:
    """Return a reader of rows that are records by themselves."""

    def read_rows(rows: Sequence[Cells]) -> list[tuple[Cells, Record]]:
        found = []
        for cells in rows:
            try:
                found.append((cells, read(cells)))
            except UnusableError as reason:
                cells.tally.left_out[str(reason)] += 1
            except ValueError as error:  # of the record
                raise error if isinstance(error, DataError) else cells.error(str(error)) from error
        return found

    return read_rows


def _fits(cells: Sequence[object] | None, kind: Kind) -> bool:
    """Return whether most cells are of a kind; a table has empty ones, and a row that is wrong is to be named."""
    if cells is None or kind is ANYTHING:
        return cells is not None
    read = [kind.read(cell) is not None for cell in cells]
    empty = sum(cell == "" and not is_read for cell, is_read in zip(cells, read, strict=True))
    return 2 * sum(read) > len(cells) - empty
