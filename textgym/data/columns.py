"""The reading of a row: its prompt, its references and its other columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from textgym.data.files import Problem, Row, is_encodable
from textgym.data.shapes import is_blank, is_chat_of_turns, texts_of
from textgym.naming import argument
from textgym.text.messages import MessageError, is_chat, last_answer, parse_messages, split_chat
from textgym.types import Example, Shown, flatten

_COLUMNS_SHOWN = 20
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns to read, each by its name, or by the path of a field of nested objects: ``"translation.en"``.

    Attributes:
        prompt: Column of the prompt. Several are the parts of one prompt, with a blank line between them; those that
            are blank in a row are left out of it.
        references: Columns of the references; none where there are none. Of several, those that are blank in a row are
            left out.
        used: Columns that are no part of :attr:`~textgym.types.Example.extra`; those that a prompt is made of are.
    """

    prompt: tuple[str, ...]
    references: tuple[str, ...] = ()
    used: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        used = frozenset((*(self.prompt if len(self.prompt) == 1 else ()), *self.references))
        object.__setattr__(self, "used", used)


class Pair(NamedTuple):
    """The content of one row.

    Attributes:
        prompt: A text or conversation.
        references: Any number of texts.
        extra: Its other columns.
        problem: Why its references cannot be used; the row is left out then, and its prompt belongs to its split.
    """

    prompt: Shown
    references: tuple[str, ...] = ()
    extra: Mapping[str, object] = {}
    problem: Problem | None = None


class _RowError(ValueError):
    """One row cannot be used; carries the kind of problem."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def column_names(rows: Iterable[Row]) -> list[str]:
    """Return the names of all columns of ``rows``, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def name_references(examples: Iterable[Example]) -> str:
    """Return how to name the column of references, for the message of an error where examples have none.

    >>> name_references([Example("a", "Where is it?", extra={"kind": "lost", "reply": "Here."})])
    'name their column with reference_column=... (columns beside the prompts: kind, reply)'
    """
    names = list(dict.fromkeys(name for example in examples for name in example.extra))
    more = len(names) - _COLUMNS_SHOWN
    there = ", ".join(names[:_COLUMNS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return f"name their column with {argument('reference_column', ...)} (columns beside the prompts: {there or 'none'})"


def has_column(row: Row, column: str) -> bool:
    """Return whether a row has a column, or a field at this path."""
    return _value_at(row.values, column) is not _MISSING


def read_pair(row: Row, columns: Columns) -> Pair | Problem:
    """Return what ``row`` says, or the reason why it cannot be used."""
    try:
        prompt, references = _prompt_of(row, columns)
    except (MessageError, _RowError) as error:
        return _problem(row, error)
    used, problem = columns.used, None
    if columns.references:
        try:
            references = _references_of(row, columns.references)
        except (MessageError, _RowError) as error:
            problem = _problem(row, error)
    extra = {name: value for name, value in row.values.items() if name not in used}
    return Pair(prompt, references, extra, problem)


def _problem(row: Row, error: MessageError | _RowError) -> Problem:
    return Problem(row.where, error.kind if isinstance(error, _RowError) else "wrong messages", str(error))


def _prompt_of(row: Row, columns: Columns) -> tuple[Shown, tuple[str, ...]]:
    """Return the prompt, and the last assistant turn where the prompt is a chat and no other reference is asked."""
    if len(columns.prompt) > 1:
        return _joined(row, columns.prompt), ()
    (column,) = columns.prompt
    value = _cell(row, column)
    if not is_chat(value):
        return _text(value, column), ()
    messages, answer = tuple(parse_messages(value)), None
    if not columns.references:
        messages, answer = split_chat(messages)
    references = () if answer is None else (_text(answer, column).strip(),)
    alone = len(messages) == 1 and messages[0].role == "user"
    text = _text(flatten(messages), column)
    return text if alone else messages, references


def _joined(row: Row, names: tuple[str, ...]) -> str:
    """Return the parts of a prompt as one text."""
    parts = [_text(part, name) for name in names for part in _filled(row, name)]
    if not parts:
        raise _RowError("empty", f"expected text in a column of {', '.join(names)}, got none")
    return "\n\n".join(parts)


def _filled(row: Row, column: str) -> list[object]:
    """Return the texts of a cell that may be missing, without the blank ones."""
    value = _value_at(row.values, column)
    if value is _MISSING:
        return []
    return [text for text in _texts(value) if not is_blank(text)]


def _texts(value: object) -> list[object]:
    texts = texts_of(value)
    return [value] if texts is None else texts


def _references_of(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > 1:
        texts = [_text(text, name).strip() for name in names for text in _filled(row, name)]
    else:
        texts = _answers(_cell(row, names[0]), names[0])
    if not texts:
        raise _RowError("empty", f"expected at least one text in column {', '.join(names)!r}, got none")
    return tuple(dict.fromkeys(texts))


def _answers(value: object, column: str) -> list[str]:
    if is_chat_of_turns(value):
        value = last_answer(parse_messages(value))
    return [_text(text, column).strip() for text in _texts(value)]


def _cell(row: Row, column: str) -> object:
    value = row.values[column] if column in row.values else _value_at(row.values, column)
    if value is _MISSING:
        raise _RowError("missing column", f"expected a column {column!r}, got {', '.join(row.values) or 'none'}")
    return value


def _value_at(values: Mapping[str, object], path: str) -> object:
    """Return a column, or what stands at a path in it; the items of a list are looked at one by one."""
    if path in values:
        return values[path]
    found: object = values
    for name in path.split("."):
        match found:
            case dict() if name in found:
                found = found[name]
            case list() if items := [item[name] for item in found if isinstance(item, dict) and name in item]:
                found = items
            case _:
                return _MISSING
    return found


def _text(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise _RowError("not a string", f"expected a string in column {column!r}, got {type(value).__name__}")
    if not value.isascii() and not is_encodable(value):
        raise _RowError("broken encoding", f"expected Unicode text in column {column!r}, got broken characters")
    if not value.strip():
        raise _RowError("empty", f"expected text in column {column!r}, got none")
    return value
