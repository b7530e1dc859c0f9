"""Tables as text, separated by commas, semicolons or tabs: every line belongs to a row or to a problem.

A quote that is opened and never closed would swallow the rows below it. Comma-separated files quote by RFC 4180; files
that are separated by tabs, as published for translation, mostly do not quote at all, so there a quote is a character
unless it stands around a whole field.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator

from textgym.errors import DataError

NUMBERED_COLUMN = re.compile(r"column\d+")
"""Name of a column of a file without a header."""
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_OPEN = "a quote is opened and not closed in this line"
_SENTENCE_ENDS = ".!?…。！？"
_SENTENCE_WORDS = 4
_LONGEST_NAME = 60  # characters
_SWALLOWED = 5  # separators in lines within one quoted field, each of which is a row by itself: no accident


def read_table(
    lines: Iterable[str], label: str, *, tabs: bool = False, named: Collection[str] = ()
) -> Iterator[tuple[str, dict[str, object] | str]]:
    """Yield every row that is not blank as ``(place, columns)``, or ``(place, what is wrong)``.

    The separator is a tab where the first line has one, else the more frequent of comma and semicolon in it. A first
    line that holds sentences or numbers only is no header: the columns of such a file are ``column1``, ``column2``, ...

    Args:
        lines: The lines, each with its end.
        label: Name of the file in places and messages.
        tabs: The file says by its name that it is separated by tabs.
        named: Columns that the user named; a line that holds one of them is a header.

    Raises:
        DataError: The header cannot be read, or names a column twice.
    """
    source = _Lines(lines)
    first = source.first()
    delimiter = "\t" if tabs or "\t" in first else max(",;", key=first.count)
    width = 0
    header: list[str] = []
    for number, fields in _records(source, delimiter):
        where = f"{label}:{number}"
        if not header:
            header, is_row = _header_of(fields, where, delimiter, named)
            width = source.width = len(header)
            if not is_row:
                continue
        if isinstance(fields, str):
            yield where, fields
        elif len(fields) != width:
            yield where, f"expected {width} fields as in the header, got {len(fields)}"
        else:
            yield where, dict(zip(header, fields, strict=True))


class _Lines(Iterator[str]):
    """Lines that can be given back.

    Attributes:
        taken: The lines since the last call of :meth:`begin`.
        number: How many lines were taken before them.
        width: Number of columns; 0 before the header is known.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._source = iter(lines)
        self._returned: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0
        self.width = 0

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._source)
        self.taken.append(line)
        return line

    def first(self) -> str:
        """Return the first line that is not blank, without taking any."""
        found = next((line for line in self if line.strip("\r\n")), "")
        self.give_back(0)
        return found

    def begin(self) -> int:
        """Start the next record; return the number of its first line."""
        self.number += len(self.taken)
        self.taken = []
        return self.number + 1

    def give_back(self, keep: int) -> None:
        """Let the lines after the first ``keep`` of this record be taken again."""
        self._returned.extendleft(reversed(self.taken[keep:]))
        del self.taken[keep:]


def _records(source: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the fields of every record that is not blank, or what is wrong, with the number of its first line."""
    # Strict, since otherwise a quote left open swallows the rest of the file as one field.
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        number = source.begin()
        fields: list[str] | str
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = len(source.taken) > 1 or str(error) == "unexpected end of data"
            fields = _recover(source, delimiter, _OPEN if is_open else str(error))
        else:
            if not fields:
                continue
            if len(source.taken) > 1 or len(fields) != source.width:
                fields = _checked(fields, source, delimiter)
        yield number, fields


def _checked(fields: list[str], source: _Lines, delimiter: str) -> list[str] | str:
    """Return the fields of a record of several lines, or of a wrong number of fields, or what its first line says."""
    width, lines = source.width, source.taken
    if not width or (len(lines) == 1 and not _is_literal(delimiter, width)):
        return fields
    if len(fields) == width and not _is_swallowing(lines, delimiter, width):
        return fields
    inner = lines[1:-1]
    whole = sum(_is_whole(line, delimiter, width) for line in inner)
    if inner and not _is_literal(delimiter, width) and 2 * whole < len(inner):
        return fields  # a quoted text of several lines, in a record of the wrong length
    return _recover(source, delimiter, _OPEN)


def _is_literal(delimiter: str, width: int) -> bool:
    """Say whether quotes and separators that make no sense are characters: between tabs, and in a single column."""
    return delimiter == "\t" or width == 1


def _is_swallowing(lines: list[str], delimiter: str, width: int) -> bool:
    """Say whether lines within quotes are rows of their own, so that the quotes belong to different rows."""
    if len(lines) == 1 or width == 1:
        return False
    if delimiter == "\t":
        return all(line.count("\t") == width - 1 for line in lines)
    inner = lines[1:-1]
    return len(inner) * (width - 1) >= _SWALLOWED and all(_is_whole(line, delimiter, width) for line in inner)


def _is_whole(line: str, delimiter: str, width: int) -> bool:
    fields = line.split(delimiter)
    return len(fields) == width and all(field.strip() for field in fields)


def _recover(source: _Lines, delimiter: str, problem: str) -> list[str] | str:
    """Read the first line of a record by itself; the others are read again."""
    source.give_back(1)
    line = source.taken[0].rstrip("\r\n")
    if source.width == 1:
        return [_unquoted(line)]
    if _is_literal(delimiter, source.width):
        return [_unquoted(field) for field in line.split(delimiter)]
    return problem


def _unquoted(field: str) -> str:
    inner = field[1:-1].replace('""', "")
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner:
        return field[1:-1].replace('""', '"')
    return field


def _header_of(fields: list[str] | str, where: str, delimiter: str, named: Collection[str]) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the first line is a row already."""
    if isinstance(fields, str):
        raise DataError(f"{where}: expected a header line with the names of the columns, got {fields}")
    names = [name.strip() for name in fields]
    if not any(name in named for name in names) and not _may_be_header(names, delimiter):
        return [f"column{number}" for number in range(1, len(names) + 1)], True
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: expected every column once, got {', '.join(twice)} twice. Rename one.")
    return names, False


def _may_be_header(names: list[str], delimiter: str) -> bool:
    """Say whether a first line may hold names: not where all are numbers, or sentences, which names rarely are.

    Between tabs one sentence is enough, if nothing else is a plain name: translations are published so. Tables of
    surveys have questions as names, but not only questions.
    """
    filled = [name for name in names if name]
    if all(_NUMBER.fullmatch(name) for name in filled):
        return not filled
    if any(_NAME.fullmatch(name) for name in filled):
        return True
    return not (any if delimiter == "\t" else all)(map(_is_sentence, filled))


def _is_sentence(name: str) -> bool:
    return len(name.split()) >= _SENTENCE_WORDS or name[-1] in _SENTENCE_ENDS or len(name) > _LONGEST_NAME
