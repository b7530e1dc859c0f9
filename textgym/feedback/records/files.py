"""Files of records: JSON lines of any kind of record; nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from textgym.errors import DataError
from textgym.feedback.records.lines import read_lines, write_lines
from textgym.feedback.records.parsing import KIND_OF, is_check, record_from_json, record_to_json
from textgym.feedback.types import Comparison, Record

_Record = TypeVar("_Record", bound=Record)


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, in UTF-8; the file is replaced only after the new one is complete."""
    write_lines(path, map(record_to_json, records))


def read_records(path: str | Path) -> list[Record]:
    """Read records of any kind from JSON lines; blank lines are skipped.

    Args:
        path: A UTF-8 file, unpacked if its name ends in ``.gz``; its lines may be records, comparisons without a kind,
            or rows of published preferences (:func:`~textgym.feedback.records.preferences.from_preference_rows`).

    Returns:
        The records in the order of the file.

    Raises:
        DataError: Naming file and line, if a line is no record; naming the file, if it cannot be read, or has none.
        FileNotFoundError: If there is no file.
    """
    return _not_none([record_from_json(row, place) for place, row in read_lines(path) if not is_check(row)], path)


def _not_none(records: list[_Record], path: str | Path) -> list[_Record]:
    if not records:
        raise DataError(
            f"expected records to learn from, got none in {str(path)!r}: it is empty, or answers checks of attention; "
            "check the path, or collect some first"
        )
    return records


def read_comparisons(path: str | Path) -> list[Comparison]:
    """Read a file in which every record is a comparison; otherwise as :func:`read_records`."""
    records: list[Comparison] = []
    for place, row in read_lines(path):
        match record_from_json(row, place):
            case Comparison() as record:
                records.append(record)
            case other:
                raise DataError(f"{place}: expected a comparison, got a {KIND_OF[type(other)]}; leave the line out")
    return _not_none(records, path)
