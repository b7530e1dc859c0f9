"""Records in the forms that others read: rows for preference trainers, tables for spreadsheets."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args

from textgym.feedback.records.lines import write_lines
from textgym.feedback.records.parsing import KINDS, record_to_json
from textgym.feedback.records.preferences import to_labelled_rows, to_preference_rows
from textgym.feedback.types import Record
from textgym.files.disk import replacing

Form = Literal["records", "preferences", "labels", "csv"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# A semicolon ends a cell where the comma is the decimal sign.
_AFTER_SEMICOLON = re.compile(rf"(;\s*)(?=[{''.join(map(re.escape, _FORMULA))}])")


def export_records(records: Iterable[Record], path: str | Path, form: Form = "records") -> int:
    """Write records to a file, which is replaced only after the new one is complete.

    Args:
        records: Records of any kind.
        path: The file.
        form: ``"records"``: JSON lines that lose nothing; ``"preferences"``: JSON lines of
            :func:`~textgym.feedback.records.preferences.to_preference_rows`; ``"labels"``: JSON lines of
            :func:`~textgym.feedback.records.preferences.to_labelled_rows`; ``"csv"``: a table for spreadsheets, one
            line per record, in which no cell is a formula.

    Returns:
        Number of rows written: of records, pairs or labelled responses.

    Raises:
        ValueError: If there is no such form.
    """
    if form not in get_args(Form):
        raise ValueError(f"expected one of the forms {', '.join(get_args(Form))}, got {form!r}; choose one of them")
    return _WRITERS[form](Path(path), records)


def _write_csv(path: Path, records: Iterable[Record]) -> int:
    columns = ["kind", *dict.fromkeys(field.name for kind in KINDS.values() for field in fields(kind))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as unfinished,
        # Spreadsheet programs take a file for UTF-8 if it begins with a byte order mark.
        open(unfinished, "w", encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(columns)
        rows = [_cells(record_to_json(record), columns) for record in records]
        table.writerows(rows)
    return len(rows)


def _cells(row: Mapping[str, object], columns: Sequence[str]) -> list[str | float]:
    return [_cell(row.get(column)) for column in columns]


def _cell(value: object) -> str | float:
    """Return what a spreadsheet shows for a value; an apostrophe keeps a text from being a formula.

    References:
        OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection
    """
    match value:
        case None:
            return ""
        case int() | float():
            return value
        case str():
            text = value
        case _:
            text = json.dumps(value, ensure_ascii=False)
    text = _AFTER_SEMICOLON.sub(r"\1'", text)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _write_preferences(path: Path, records: Iterable[Record]) -> int:
    return write_lines(path, to_preference_rows(records))


def _write_labels(path: Path, records: Iterable[Record]) -> int:
    return write_lines(path, to_labelled_rows(records))


def _write_records(path: Path, records: Iterable[Record]) -> int:
    return write_lines(path, map(record_to_json, records))


_WRITERS: Mapping[Form, Callable[[Path, Iterable[Record]], int]] = {
    "records": _write_records,
    "preferences": _write_preferences,
    "labels": _write_labels,
    "csv": _write_csv,
}
