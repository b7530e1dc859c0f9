"""Records of feedback as JSON, one object per line; nothing is lost.

A line is ``{"kind": "comparison", "task_key": ..., "prompt": ..., ...}``, with the fields of its class in
`textgym.types`; fields at their default may be missing, others that nobody knows are passed over. Comparisons without a
kind, and the rows of published preference data, are read as well.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from textgym.data.files import open_bytes
from textgym.data.files import read_lines as read_lines_of
from textgym.errors import DataError, did_you_mean
from textgym.feedback.annotators.comparisons import from_preference_row
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Ranking, Rating, Record

KINDS: Mapping[str, type[Record]] = {
    "comparison": Comparison,
    "ranking": Ranking,
    "rating": Rating,
    "demonstration": Demonstration,
    "implicit": ImplicitFeedback,
}
_EXPORT_RECORDS = "export its project again with --form votes or --form records"
_Record = TypeVar("_Record", bound=Record)
_KIND_OF = {record: kind for kind, record in KINDS.items()}


def shown_order(n: int, seed: int | None) -> tuple[int, ...]:
    """Return the order in which ``n`` responses were shown: ``order[place]`` is the index of the one at ``place``.

    A function of its arguments alone, today and in later versions, on every machine; all orders are equally likely.

    Args:
        n: Number of responses.
        seed: The record's ``order_seed``; ``None`` is the order in which they are listed.

    >>> shown_order(3, None), shown_order(3, 4)
    ((0, 1, 2), (0, 2, 1))
    """
    if seed is None:
        return tuple(range(n))
    return tuple(sorted(range(n), key=lambda index: hashlib.sha256(f"{seed}:{index}".encode()).digest()))


def record_to_json(record: Record) -> dict[str, Any]:
    """Return a record as an object of plain data, its kind first."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {"kind": _KIND_OF[type(record)], **plain}


def record_from_json(row: object, place: str) -> Record:
    """Return the record that an object describes; the inverse of `record_to_json`.

    Args:
        row: What ``json.loads`` returned.
        place: Where it stands, for error messages, such as ``"votes.jsonl:3"``.

    Raises:
        DataError: Naming the place, if it is no such object.
    """
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(row).__name__}; write one record per line")
    if "kind" not in row:
        if "chosen" in row:
            return from_preference_row(row, place)
        _refuse_other_exports(row, place)
    kind = row.get("kind", "comparison")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"{place}: expected a known kind of record, got {kind!r}.{did_you_mean(str(kind), KINDS)}")
    values = _read_values(row, KINDS[kind], place)
    try:
        return KINDS[kind](**values)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from error


def _refuse_other_exports(row: Mapping[str, Any], place: str) -> None:
    """Say what a line is that `textgym.feedback` wrote, but cannot read as a record."""
    if {"completion", "label"} <= row.keys():
        raise DataError(
            f"{place}: expected a record, got a labelled text, which does not say enough; {_EXPORT_RECORDS}"
        )
    if is_question(row):
        raise DataError(f"{place}: expected a record, got a question, not its answers; {_EXPORT_RECORDS}")


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, in UTF-8; the file is replaced only after the new one is complete."""
    write_lines(path, map(record_to_json, records))


def read_records(path: str | Path) -> list[Record]:
    """Read records of any kind from JSON lines; blank lines are skipped.

    Args:
        path: A UTF-8 file, unpacked if its name ends in ``.gz``; its lines may be records, comparisons without a kind,
            or rows of published preferences (`from_preference_rows`).

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


def is_check(row: object) -> bool:
    """Does a line of `export_votes` answer an attention check? Nothing is to be learnt from these."""
    return isinstance(row, dict) and row.get("check") is True


def is_question(row: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a line of a file is meant to be a question, not an answer to one."""
    return isinstance(row, dict) and "responses" in row and "ranks" not in row


def read_comparisons(path: str | Path) -> list[Comparison]:
    """Read a file in which every record is a comparison; otherwise as `read_records`."""
    records: list[Comparison] = []
    for place, row in read_lines(path):
        record = record_from_json(row, place)
        if not isinstance(record, Comparison):
            raise DataError(f"{place}: expected a comparison, got a {_KIND_OF[type(record)]}; leave the line out")
        records.append(record)
    return _not_none(records, path)


def write_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write objects as JSON lines; the file is replaced only after the new one is complete."""
    with replacing(Path(path)) as unfinished, open(unfinished, "wb") as lines:
        lines.writelines(_encode(row) + b"\n" for row in rows)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path to write to, which takes the place of ``path`` if the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_lines(path: str | Path) -> Iterator[tuple[str, object]]:
    """Yield the place (``"file:line"``) and the value of every line that is not blank; errors as `read_records`."""
    with open_bytes(Path(path)) as lines:
        for number, line in enumerate(read_lines_of(lines, str(path)), start=1):
            if line.strip():
                yield f"{path}:{number}", _decode(line, f"{path}:{number}")


def _encode(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair is a legal Python text: it survives as an escape
        return json.dumps(row, allow_nan=False).encode()


def _decode(line: bytes, place: str) -> object:
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8 text, got other bytes ({error}); save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        if text.startswith('"kind",'):
            raise DataError(f"{place}: expected JSON lines, got a table for spreadsheets; {_EXPORT_RECORDS}") from None
        raise DataError(f"{place}: expected one JSON object per line, got {text.strip()[:60]!r} ({error})") from error


def _read_values(row: Mapping[str, Any], record: type[Record], place: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(record)}
    missing = [
        name
        for name, field in known.items()
        if name not in row and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise DataError(
            f"{place}: expected {missing[0]!r} of a {_KIND_OF[record]}, got only {', '.join(row) or 'nothing'}; add it"
        )
    return {name: _read_value(row[name], name, place) for name in known if name in row}


def _read_value(value: Any, name: str, place: str) -> Any:
    kind, read = _TYPES[name]
    try:
        return read(value)
    except TypeError:
        got = type(value).__name__ if not isinstance(value, bool | int | float) else repr(value)
        raise DataError(f"{place}: expected {kind} as {name!r}, got {got}; correct the line") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        raise TypeError from None


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _optional(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


def _list(read: Callable[[object], Any]) -> Callable[[object], Any]:
    def read_list(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError
        return tuple(map(read, value))

    return read_list


def _grades(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _integer(grade) for name, grade in value.items()}


_TYPES: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    **dict.fromkeys(
        ("task_key", "prompt", "annotator", "response_a", "response_b", "choice", "response"), ("a text", _text)
    ),
    **dict.fromkeys(("rating", "position"), ("a whole number", _integer)),
    **dict.fromkeys(("dwell_seconds", "scrolled"), ("a number", _number)),
    **dict.fromkeys(("clicked", "copied"), ("true or false", _boolean)),
    **dict.fromkeys(("time", "seconds"), ("a number or null", _optional(_number))),
    **dict.fromkeys(("generators", "responses"), ("a list of texts", _list(_text))),
    "order_seed": ("a whole number or null", _optional(_integer)),
    "edited_from": ("a text or null", _optional(_text)),
    "ranks": ("a list of whole numbers", _list(_integer)),
    "criteria": ("an object of whole numbers", _grades),
}
