"""The choice of a row's prompt and reference columns, and the reading of their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from textgym.data.files import Problem, Row, is_encodable
from textgym.errors import DataError, did_you_mean
from textgym.text.messages import MessageError, is_chat, last_answer, parse_messages, split_chat
from textgym.types import Message, flatten
from textgym.values import as_text

PROMPT_COLUMNS = (
    *("prompt", "document", "dialogue", "article", "text", "question", "input", "body"),
    *("messages", "conversations"),
)
REFERENCE_COLUMNS = ("reference", "summary", "response", "completion", "answer", "target", "output", "highlights")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns to read; ``reference`` is ``None`` where there are no references."""

    prompt: str
    reference: str | None


class Pair(NamedTuple):
    """The content of one row: a prompt (text or conversation), any number of references, and its other columns."""

    prompt: str | tuple[Message, ...]
    references: tuple[str, ...] = ()
    extra: Mapping[str, object] = {}


class _RowError(ValueError):
    """One row cannot be used; carries the kind of problem."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def choose_columns(rows: Sequence[Row], prompt: str | None, reference: str | None) -> Columns:
    """Complete the names that the user gave by the only sensible guess over the first rows.

    A column that holds text counts, one of numbers does not. Where no column holds text, a single empty one counts: its
    text may come in later rows.

    Raises:
        DataError: If no column or several columns could be the prompt, or several could be the reference.
    """
    if prompt is None:
        others = [name for name in PROMPT_COLUMNS if name != reference]
        prompt = _guess(rows, others, "prompt_column")
        if prompt is None:
            raise DataError(_no_prompt_column(column_names(rows)))
    if reference is None:
        others = [name for name in REFERENCE_COLUMNS if name != prompt]
        reference = _guess(rows, others, "reference_column")
    return Columns(prompt, reference)


def column_names(rows: Iterable[Row]) -> list[str]:
    """Return the names of all columns of ``rows``, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def missing_column(option: str, name: str, found: Iterable[str]) -> DataError:
    """Return the error for a column that the user named and no row has."""
    columns = sorted(found)
    return DataError(
        f"expected {option} to name a column of the data, got {name!r}. "
        f"The columns are: {', '.join(columns)}.{did_you_mean(name, columns)}"
    )


def _no_prompt_column(columns: list[str]) -> str:
    hints = {did_you_mean(name, PROMPT_COLUMNS) for name in columns}
    close = sorted(hint for hint in hints if hint.startswith(" Did"))
    return (
        f"expected a column of text called {', '.join(PROMPT_COLUMNS)}, got the columns {', '.join(columns)}. "
        f"Name the one to use with prompt_column=...{close[0] if close else ''}"
    )


def _guess(rows: Sequence[Row], candidates: Sequence[str], option: str) -> str | None:
    cells = {name: [row.values[name] for row in rows if name in row.values] for name in candidates}
    found = [name for name, values in cells.items() if any(map(_holds_text, values))]
    if len(found) > 1:
        raise DataError(f"expected one candidate for {option}, got {', '.join(found)}. Name one with {option}=...")
    empty = [name for name, values in cells.items() if values and all(map(_is_empty, values))]
    return found[0] if found else empty[0] if len(empty) == 1 else None


def _holds_text(value: object) -> bool:
    return is_chat(value) or any(as_text(text).strip() for text in _each(value))


def _is_empty(value: object) -> bool:
    match value:
        case None | []:
            return True
        case str():
            return not value.strip()
    return False


def _each(value: object) -> list[object]:
    """Return the items of a list, and of anything else that alone."""
    return value if isinstance(value, list) else [value]


def read_pair(row: Row, columns: Columns) -> Pair | Problem:
    """Return what ``row`` says, or the reason why it cannot be used."""
    try:
        pair = _prompt_of(row, columns)
        if columns.reference is not None:
            pair = pair._replace(references=_references_of(row, columns.reference))
        extra = {name: value for name, value in row.values.items() if name not in (columns.prompt, columns.reference)}
        return pair._replace(extra=extra)
    except MessageError as error:
        return Problem(row.where, "wrong messages", str(error))
    except _RowError as error:
        return Problem(row.where, error.kind, str(error))


def _prompt_of(row: Row, columns: Columns) -> Pair:
    """Return the prompt, and the last assistant turn where the prompt is a chat and no other reference is asked."""
    value = _cell(row, columns.prompt)
    if not is_chat(value):
        return Pair(_text(value, columns.prompt))
    messages, answer = tuple(parse_messages(value)), None
    if columns.reference is None:
        messages, answer = split_chat(messages)
    references = () if answer is None else (_text(answer, columns.prompt).strip(),)
    alone = len(messages) == 1 and messages[0].role == "user"
    text = _text(flatten(messages), columns.prompt)
    return Pair(text if alone else messages, references)


def _references_of(row: Row, column: str) -> tuple[str, ...]:
    value = _cell(row, column)
    if is_chat(value):
        value = last_answer(parse_messages(value))
    texts = _each(value)
    if not texts:
        raise _RowError("empty", f"expected at least one text in column {column!r}, got an empty list")
    return tuple(dict.fromkeys(_text(text, column).strip() for text in texts))


def _cell(row: Row, column: str) -> object:
    if column not in row.values:
        raise _RowError("missing column", f"expected a column {column!r}, got {', '.join(row.values) or 'none'}")
    return row.values[column]


def _text(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise _RowError("not a string", f"expected a string in column {column!r}, got {type(value).__name__}")
    if not value.isascii() and not is_encodable(value):
        raise _RowError("broken encoding", f"expected Unicode text in column {column!r}, got broken characters")
    if not value.strip():
        raise _RowError("empty", f"expected text in column {column!r}, got none")
    return value
