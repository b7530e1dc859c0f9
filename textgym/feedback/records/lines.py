"""Objects as JSON lines, and rows of other files: read with the place of each, written whole or not at all."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, cast

from textgym import values
from textgym.data.files import Problem, Row, open_bytes, read_file, suffix_of
from textgym.data.files import read_lines as read_lines_of
from textgym.errors import DataError
from textgym.files.disk import replacing
from textgym.types import JsonObject

EXPORT_RECORDS = "export its project again with --form votes or --form records"
"""What to do with an export that does not hold records."""
FORMATS_OF_ROWS = (".json", ".csv", ".tsv", ".parquet")
"""Endings of files that are not read line by line."""
_TABLE_OF_RECORDS = b'"kind",'
"""The beginning of a table for spreadsheets, in which cells were changed."""
_LONGEST_START = 100


def write_lines(path: str | Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write objects as JSON lines, packed if the name ends in ``.gz``, and return how many.

    The file is replaced only after the new one is complete.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with replacing(Path(path)) as unfinished, open(unfinished, "wb") as file, _packed(file, path) as lines:
        for count, row in enumerate(rows, start=1):  # noqa: B007  # counted for the return value
            lines.write(_encode(row) + b"\n")
    return count


def _packed(file: IO[bytes], path: str | Path) -> AbstractContextManager[IO[bytes]]:
    """Return what a file of this name is written through: the same lines give the same bytes."""
    if Path(path).suffix.lower() != ".gz":
        return nullcontext(file)
    return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))


def read_lines(path: str | Path) -> Iterator[tuple[str, JsonObject]]:
    """Yield the place (``"file:line"``) and the object of every line that is not blank.

    Errors are those of :func:`~textgym.feedback.records.files.read_records`.
    """
    with open_bytes(Path(path)) as lines:
        for number, line in enumerate(read_lines_of(lines, str(path)), start=1):
            if line.strip():
                yield f"{path}:{number}", _decode(line, f"{path}:{number}")


def read_rows(path: str | Path) -> Iterator[tuple[str, JsonObject]]:
    """Yield the place and the columns of every row of a file: a table, a JSON array, or else JSON lines.

    Args:
        path: File whose ending names its format, one of ``FORMATS_OF_ROWS``, or that with ``.gz``; any other ending is
            one of JSON lines. In tables of text all cells are texts.

    Raises:
        DataError: The file, or a row of it, cannot be read.
        FileNotFoundError: If there is no file.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix.removesuffix(".gz") not in FORMATS_OF_ROWS:
        yield from read_lines(path)
        return
    with open_bytes(path) as file:
        if file.readline(_LONGEST_START).removeprefix(codecs.BOM_UTF8).startswith(_TABLE_OF_RECORDS):
            raise _is_table_of_records(f"{path}:1")
    for item in read_file(path):
        match item:
            case Problem():
                raise DataError(f"{item.where}: {item.kind}: {item.detail}; correct or remove the row")
            case Row():
                yield item.where, item.values


def _is_table_of_records(place: str) -> DataError:
    return DataError(f"{place}: expected JSON lines, got a table for spreadsheets; {EXPORT_RECORDS}")


def json_object(value: object, place: str) -> JsonObject:
    """Return what ``json.loads`` made of a line, which is an object.

    Raises:
        DataError: Naming the place, if it is something else.
    """
    try:
        return values.expect_object(value)
    except TypeError as error:
        raise DataError(f"{place}: {error}; write one record per line") from None


def _encode(row: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair is a legal Python text: it survives as an escape
        return json.dumps(row, allow_nan=False).encode()


def _decode(line: bytes, place: str) -> JsonObject:
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
        return json_object(json.loads(text), place)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8 text, got other bytes ({error}); save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        if line.removeprefix(codecs.BOM_UTF8).startswith(_TABLE_OF_RECORDS):
            raise _is_table_of_records(place) from None
        raise DataError(f"{place}: expected one JSON object per line, got {text.strip()[:60]!r} ({error})") from error
