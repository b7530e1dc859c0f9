"""Reading rows from JSON Lines, JSON, CSV, TSV, text and Parquet files, with the place of every row."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, AnyStr, NamedTuple

from textgym.data.delimited import read_table
from textgym.errors import DataError, MissingExtraError
from textgym.security.foreign import (
    LARGEST_RATIO,
    LONGEST_LINE,
    ROWS_FREELY,
    UNPACKED_FREELY,
    Unpacked,
    require_regular,
)

_FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
SUFFIXES = (*_FORMATS, *(f"{suffix}.gz" for suffix in _FORMATS))

TEXT_COLUMN = "text"
"""Name of the only column of a ``.txt`` file."""

_BLOCK = 2**17  # bytes that are unpacked at once
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SPACE = re.compile(r"[ \t\r\n]*")


class DataWarning(UserWarning):
    """Some of the data was left out; the message says how much and why."""


class Row(NamedTuple):
    """One usable row: where it stands (``"file:line"``) and its columns."""

    where: str
    values: dict[str, object]


class Problem(NamedTuple):
    """One row that cannot be used: where it stands, the kind of problem (a counter's name), and what is wrong."""

    where: str
    kind: str
    detail: str


def suffix_of(path: Path) -> str:
    """Return the ending that names the format, such as ``".jsonl"`` or ``".csv.gz"``, in lower case."""
    stem, _, ending = path.name.lower().rpartition(".")
    if not stem or not ending:
        return ""
    inner, _, second = stem.rpartition(".") if ending == "gz" else ("", "", "")
    return f".{second}.gz" if inner and second else f".{ending}"


def read_file(path: Path, label: str | None = None, named: Collection[str] = ()) -> Iterator[Row | Problem]:
    """Yield every row of a file, and a ``Problem`` in place of each row that cannot be read.

    Args:
        path: A file ending in one of ``SUFFIXES``.
        label: Name of the file in messages (the path, unless given).
        named: Columns that the user named: a first line of a table that holds one of them is its header.

    Raises:
        DataError: If the file as a whole cannot be read: unknown ending, damaged archive, broken JSON document.
    """
    label = label or str(path)
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}, got {label!r}. Convert or rename it.")
    reader = _READERS.get(suffix.removesuffix(".gz"))
    with _damage_as_data_error(suffix, label):
        yield from _read_csv(path, label, named) if reader is None else reader(path, label)


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file to read, unpacked where its name ends in ``.gz``.

    Raises:
        FileNotFoundError: If there is no file.
        DataError: If it cannot be read, also while it is read; if it is a pipe or device, or unpacks to far more than
            texts do.
    """
    if not path.exists():
        raise FileNotFoundError(f"expected an existing file, got {str(path)!r}; check the path")
    with _damage_as_data_error(suffix_of(path), str(path)), _open_bytes(path) as binary:
        yield binary


def read_lines(binary: io.BufferedReader, label: str) -> Iterator[bytes]:
    """Yield the lines of an open file, each with its end.

    Raises:
        DataError: One has no end.
    """
    yield from _limited(binary.readline, label, b"\n")


@contextlib.contextmanager
def _damage_as_data_error(suffix: str, label: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        advice = "The archive is damaged or cut off; make it again." if suffix.endswith(".gz") else "Check the file."
        kind = f"{suffix} file".lstrip()
        raise DataError(f"expected a readable {kind}, got {label!r}: {error}. {advice}") from error


def _open_bytes(path: Path) -> io.BufferedReader:
    require_regular(path)
    if not suffix_of(path).endswith(".gz"):
        return path.open("rb")
    return io.BufferedReader(Unpacked(path), _BLOCK)


def _limited(readline: Callable[[int], AnyStr], label: str, end: AnyStr) -> Iterator[AnyStr]:
    """Yield lines, none so long that reading it fills the memory."""
    for number, line in enumerate(iter(partial(readline, LONGEST_LINE), end[:0]), start=1):
        if len(line) == LONGEST_LINE and not line.endswith(end):
            raise DataError(
                f"{label}:{number}: expected rows of at most {LONGEST_LINE:,} characters, got a longer one; is it text?"
            )
        yield line


@contextlib.contextmanager
def _open_text(path: Path, label: str, newline: str) -> Iterator[IO[str]]:
    """Open a UTF-8 file, plain or gzipped; bytes that are not UTF-8 become lone surrogates, to be found per row."""
    with _open_bytes(path) as binary:
        if binary.peek(2)[:2] in _WIDE_BOMS:
            raise DataError(f"expected UTF-8 text in {label!r}, got UTF-16. Save the file as UTF-8.")
        with io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as text:
            yield text


def is_encodable(text: str) -> bool:
    """Return whether ``text`` is real Unicode, without the lone surrogates that stand for broken bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_jsonl(path: Path, label: str) -> Iterator[Row | Problem]:
    with _open_text(path, label, newline="\n") as lines:
        yield from _parse_lines(_limited(lines.readline, label, "\n"), label)


def _parse_lines(lines: Iterable[str], label: str) -> Iterator[Row | Problem]:
    for number, line in enumerate(lines, start=1):
        if line.strip(" \t\r\n"):
            yield _parse_line(line, f"{label}:{number}")


def _parse_line(line: str, where: str) -> Row | Problem:
    # ASCII lines are most lines, and need no second look.
    if not line.isascii() and not is_encodable(line):
        return Problem(where, "broken encoding", "expected UTF-8, got bytes that are not")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Problem(where, "wrong JSON", str(error) or type(error).__name__)
    return _object_row(value, where)


def _object_row(value: object, where: str) -> Row | Problem:
    if not isinstance(value, dict):
        return Problem(where, "not an object", f"expected an object with named columns, got {type(value).__name__}")
    return Row(where, value)


def _read_json(path: Path, label: str) -> Iterator[Row | Problem]:
    """Read a list of objects, ``{"data": [...]}``, or JSON Lines under the name ``.json``."""
    with _open_text(path, label, newline="\n") as file:
        text = file.read()
    try:
        start = _list_start(text)
        rows = _scan_list(text, start, label) if start is not None else _parse_lines(io.StringIO(text), label)
        yield from rows
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        advice = 'Expected a list of objects or {"data": [...]}; fix it, or save one object per line as .jsonl.'
        raise DataError(f"{label}: wrong JSON: {error}. {advice}") from error


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _list_start(text: str) -> int | None:
    """Return where the list of rows opens, or ``None`` if the text is neither a list nor ``{"data": [...]}``."""
    position = _skip_space(text, 0)
    if text.startswith("[", position):
        return position
    if not text.startswith("{", position):
        return None
    try:
        return _find_data(text, position + 1)
    except (ValueError, RecursionError):
        return None


def _find_data(text: str, position: int) -> int | None:
    """Walk over the members of the object that opens before ``position`` until the list called ``data``."""
    decoder = json.JSONDecoder()
    while text.startswith('"', position := _skip_space(text, position)):
        key, position = decoder.raw_decode(text, position)
        position = _skip_space(text, position)
        if not text.startswith(":", position):
            return None
        position = _skip_space(text, position + 1)
        if key == "data" and text.startswith("[", position):
            return position
        _, position = decoder.raw_decode(text, position)
        position = _skip_space(text, position)
        if not text.startswith(",", position):
            return None
        position += 1
    return None


def _scan_list(text: str, position: int, label: str) -> Iterator[Row | Problem]:
    """Yield the items of the list that opens at ``position``, each with its line number."""
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    position = _skip_space(text, position + 1)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        value, position = decoder.raw_decode(text, position)
        yield _object_row(value, f"{label}:{line}")
        position = _skip_space(text, position)
        if text.startswith(",", position):
            position = _skip_space(text, position + 1)
        elif not text.startswith("]", position):
            raise json.JSONDecodeError("expected ',' or ']' after an item", text, position)
    position = _skip_space(text, position + 1)
    if position < len(text) and text[position] not in ",}":
        raise json.JSONDecodeError("more text after the list", text, position)


@contextlib.contextmanager
def _huge_csv_fields() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_csv(path: Path, label: str, named: Collection[str]) -> Iterator[Row | Problem]:
    """Read a table, with or without a header."""
    tabs = suffix_of(path).startswith(".tsv")
    kind = "wrong TSV" if tabs else "wrong CSV"
    with _open_text(path, label, newline="") as file, _huge_csv_fields():
        for where, row in read_table(_limited(file.readline, label, "\n"), label, tabs=tabs, named=named):
            yield Problem(where, kind, row) if isinstance(row, str) else Row(where, row)


def _read_txt(path: Path, label: str) -> Iterator[Row | Problem]:
    """Read a text on every line that is not blank."""
    with _open_text(path, label, newline="") as file:
        for number, line in enumerate(_limited(file.readline, label, "\n"), start=1):
            if line.strip():
                yield Row(f"{label}:{number}", {TEXT_COLUMN: line.rstrip("\r\n")})


def read_document(path: Path) -> str:
    """Return all of a ``.txt`` file; bytes that are not UTF-8 become lone surrogates.

    Raises:
        DataError: It cannot be read, is no regular file, or is larger than any text.
    """
    label = str(path)
    with _damage_as_data_error(suffix_of(path), label), _open_text(path, label, newline="") as file:
        text = file.read(LONGEST_LINE)
        if file.read(1):
            raise DataError(f"{label}: expected at most {LONGEST_LINE:,} characters, got more; is it text?")
        return text


def _read_parquet(path: Path, label: str) -> Iterator[Row | Problem]:
    arrow, parquet = _import_parquet()
    try:
        number = 0
        # Parquet is read from its end, and a gzip stream would be unpacked again for every step back.
        with _open_bytes(path) as binary:
            source = io.BytesIO(binary.read()) if suffix_of(path).endswith(".gz") else path
        with parquet.ParquetFile(source) as file:
            _check_proportions(file.metadata, path, label)
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{label}:{number}", values)
    except (arrow.ArrowException, ValueError, ArithmeticError) as error:
        raise DataError(f"expected a readable Parquet file, got {label!r}: {error}. Check or rewrite it.") from error


def _check_proportions(metadata: Any, path: Path, label: str) -> None:
    """Refuse files of a few bytes that say they hold millions of rows, or gigabytes."""
    packed = path.stat().st_size
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > max(ROWS_FREELY, packed) or unpacked > max(UNPACKED_FREELY, packed * LARGEST_RATIO):
        raise DataError(
            f"expected a Parquet file of texts, got {label!r} of {packed:,} bytes with {metadata.num_rows:,} rows and "
            f"{unpacked:,} bytes unpacked; check where it is from"
        )


def _import_parquet() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError.of("Parquet files", "pyarrow", "data") from error
    return pyarrow, pyarrow.parquet


_READERS: dict[str, Callable[[Path, str], Iterator[Row | Problem]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
}
