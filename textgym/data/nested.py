"""Rows within rows, and values within texts: what formats without nested values have to write otherwise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

from textgym.data.files import Problem, Row
from textgym.data.shapes import PLURALS, is_blank, is_chat_of_turns
from textgym.values import as_list, as_object

_ROWS_FOR_GUESS = 100
Begun = tuple[list[Row], Iterator[Row | Problem]]


def begin(items: Iterable[Row | Problem]) -> Begun:
    """Return the first rows, and all items with what is nested in them taken apart.

    Articles with ``paragraphs`` that have ``qas`` become rows of questions. Cells that hold conversations as JSON,
    which is how tables do it, become lists of messages; in columns of references, lists of texts too.
    """
    stream = iter(items)
    head, rows = _head(stream)
    if any(map(_has_rows_within, rows)):
        stream = itertools.chain.from_iterable(map(_rows_within, itertools.chain(head, stream)))
        head, rows = _head(stream)
    written = _columns_of_json(rows)
    if not written:
        return rows, itertools.chain(head, stream)
    head = list(map(partial(_parsed, written), head))
    return [item for item in head if isinstance(item, Row)], itertools.chain(
        head, map(partial(_parsed, written), stream)
    )


def _head(stream: Iterator[Row | Problem]) -> tuple[list[Row | Problem], list[Row]]:
    """Return the items up to the last of the first rows, and these rows."""
    head: list[Row | Problem] = []
    rows: list[Row] = []
    for item in stream:
        head.append(item)
        if isinstance(item, Row):
            rows.append(item)
            if len(rows) == _ROWS_FOR_GUESS:
                break
    return head, rows


def _has_rows_within(row: Row) -> bool:
    return any("qas" in as_object(paragraph) for paragraph in as_list(row.values.get("paragraphs")))


def _rows_within(item: Row | Problem) -> Iterator[Row | Problem]:
    """Yield the questions of an article; columns of the article and of the paragraph are theirs too."""
    if isinstance(item, Problem) or not _has_rows_within(item):
        yield item
        return
    article = dict(item.values)
    for paragraph in map(as_object, as_list(article.pop("paragraphs"))):
        above = {**article, **{name: value for name, value in paragraph.items() if name != "qas"}}
        for asked in as_list(paragraph.get("qas")):
            yield Row(item.where, {**above, **as_object(asked)})


def _columns_of_json(rows: Sequence[Row]) -> list[str]:
    """Return the columns in which every cell that is not blank is a conversation, or a list of references, as JSON."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    return [name for name in names if _is_json(name, [row.values.get(name) for row in rows])]


def _is_json(name: str, cells: Sequence[object]) -> bool:
    values = [cell for cell in cells if not is_blank(cell)]
    if not values or not all(isinstance(value, str) and value.lstrip()[:1] in ("[", "{") for value in values):
        return False
    parsed = list(map(_parse, values))
    return all(map(is_chat_of_turns, parsed)) or (
        name.lower() in PLURALS and all(isinstance(value, list | dict) for value in parsed)
    )


def _parse(text: object) -> object:
    try:
        return json.loads(str(text))
    except (ValueError, RecursionError):
        return None


def _parsed(names: Collection[str], item: Row | Problem) -> Row | Problem:
    """Return a row with the values of its JSON cells."""
    if isinstance(item, Problem):
        return item
    values = dict(item.values)
    for name in names:
        cell = values.get(name)
        if isinstance(cell, str) and cell.strip():
            values[name] = _parse(cell)
            if values[name] is None:
                return Problem(item.where, "wrong JSON", f"expected JSON in column {name!r}, as in other rows")
    return Row(item.where, values)
