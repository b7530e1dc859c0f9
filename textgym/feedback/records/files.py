"""Files of records: those of every shape are read; JSON lines of any kind of record are written, and lose nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from textgym.data.files import DataWarning
from textgym.errors import DataError
from textgym.feedback.records.lines import read_rows, write_lines
from textgym.feedback.records.parsing import (
    KIND_OF,
    is_check,
    is_record,
    record_from_json,
    record_to_json,
    refuse_questions,
)
from textgym.feedback.records.shapes.reading import PlacedRow, ShapedRows, counts, read_shaped, recognise
from textgym.feedback.types import Comparison, Record
from textgym.types import JsonObject

_QUESTION = {"responses", "mode", "overlap"}
_Record = TypeVar("_Record", bound=Record)


class ReadRow(NamedTuple):
    """A record, and where it is from.

    Attributes:
        place: Place of its row, such as ``"votes.jsonl:3"``.
        row: Row of a record as it is written here; empty for rows of other shapes.
        record: The record.
    """

    place: str
    row: JsonObject
    record: Record


class FileRecords(NamedTuple):
    """The records of a file, and what is to be said about how they were read.

    Attributes:
        rows: Records with their rows, answers to attention checks included, in the order of the file.
        shapes: Rows of the shapes in which feedback is published.
    """

    rows: list[ReadRow]
    shapes: list[ShapedRows]

    @property
    def records(self) -> list[Record]:
        """The records, without those that answer attention checks, from which nothing is learned."""
        return [each.record for each in self.rows if not is_check(each.row)]

    @property
    def lines(self) -> list[str]:
        """Remarks: which shapes were read as what, which columns are not used, and what was left out."""
        own = [each.record for each in self.rows if each.row and not is_check(each.row)]
        first = [f"Read as: records of textgym, {counts(own)}"] if own else []
        return first + [line for shaped in self.shapes for line in shaped.lines()]


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, in UTF-8; the file is replaced only after the new one is complete."""
    write_lines(path, map(record_to_json, records))


def load_records(path: str | Path) -> FileRecords:
    """Read records from a file of any shape, and say how it was read.

    Args:
        path: File whose rows are records as :func:`write_records` writes them, or rows of one or several of the shapes
            in :mod:`textgym.feedback.records.shapes.table`: JSON lines, a JSON array, CSV, TSV or Parquet, each
            unpacked if the name ends in ``.gz``.

    Raises:
        UnknownShapeError: No shape that is known; the message lists all.
        DataError: Naming file and row, if one cannot be read; naming the file, if it has none.
        FileNotFoundError: If there is no file.
    """
    rows = [PlacedRow(number, *row) for number, row in enumerate(read_rows(path))]
    own = [row for row in rows if is_record(row.row)]
    others = [row for row in rows if not is_record(row.row)]
    if own:  # a line beside records that has no shape is a record that lacks something
        known = [recognise([row.row]) is not None for row in others]
        own += [row for row, is_known in zip(others, known, strict=True) if not is_known]
        others = [row for row, is_known in zip(others, known, strict=True) if is_known]
    for row in others:
        if row.row.keys() >= _QUESTION:
            refuse_questions(row.row, row.place)
    own.sort(key=lambda row: row.number)
    read = [(number, ReadRow(place, row, record_from_json(row, place))) for number, place, row in own]
    shapes = read_shaped(others)
    for number, record in (each for shaped in shapes for each in shaped.records):
        read.append((number, ReadRow(rows[number].place, {}, record)))
    return FileRecords([each for _, each in sorted(read, key=lambda each: each[0])], shapes)


def read_records(path: str | Path) -> list[Record]:
    """Read records of any kind; as :func:`load_records`, with a warning about rows that were left out.

    Args:
        path: File of any shape.

    Returns:
        The records in the order of the file.

    Raises:
        DataError: Naming file and row, if it is no record; naming the file, if it cannot be read, or has none.
        FileNotFoundError: If there is no file.
    """
    loaded = load_records(path)
    for shaped in loaded.shapes:
        for what in shaped.left_out:
            warnings.warn(f"{path}: left out {what}", DataWarning, stacklevel=2)
    return not_none(loaded.records, path)


def not_none(records: list[_Record], path: str | Path) -> list[_Record]:
    """Return records, of which there is at least one.

    Raises:
        DataError: There is none.
    """
    if not records:
        raise DataError(
            f"expected records to learn from, got none in {str(path)!r}: it is empty, or answers checks of attention; "
            "check the path, or collect some first"
        )
    return records


def read_comparisons(path: str | Path) -> list[Comparison]:
    """Read a file in which every record is a comparison; otherwise as :func:`read_records`."""
    records: list[Comparison] = []
    for place, _, record in load_records(path).rows:
        match record:
            case Comparison():
                records.append(record)
            case other:
                raise DataError(f"{place}: expected a comparison, got a {KIND_OF[type(other)]}; leave the line out")
    return not_none(records, path)
