"""The cells of a row: read as what a shape needs, whatever kind of file they stand in.

In tables every cell is a text: numbers, truth values, lists and messages are read from their text there.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from textgym import values
from textgym.errors import DataError
from textgym.feedback.records.dialogues import DIALOGUE_START
from textgym.text.messages import MessageError, is_chat, parse_messages
from textgym.types import JsonObject, Message, Shown, as_shown, shown_text

ANNOTATORS = ("annotator", "annotator_id", "worker", "worker_id", "judge", "rater")
"""Columns that name the annotator, in most shapes."""
_FIELDS = ({"role", "content"}, {"from", "value"})  # of a message
_LABELS = {
    **dict.fromkeys(("true", "1", "1.0", "+1", "yes", "good", "desirable"), True),
    **dict.fromkeys(("false", "0", "0.0", "-1", "-1.0", "no", "bad", "undesirable"), False),
}


class UnusableError(Exception):
    """A row is right, but says nothing that a record can hold; the message says why, in the plural."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The account of the rows of one shape.

    Attributes:
        used: Columns that were read.
        notes: Further remarks about rows, in the plural, with the number of the rows.
        left_out: Reasons why rows make no record, in the plural, with the number of the rows.
    """

    used: set[str] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class Cells:
    """The cells of one row. What is looked at is remembered, so that the columns that nobody reads can be named.

    Attributes:
        number: Place of the row in its file, from 0 on.
        place: The same for error messages, such as ``"votes.csv:3"``.
        row: The row.
        tally: Account of the rows of its shape.
    """

    def __init__(self, number: int, place: str, row: JsonObject, tally: Tally) -> None:
        self.number, self.place, self.row, self.tally = number, place, row, tally

    def find(self, *names: str) -> str | None:
        """Return the first of these columns that holds something here; an empty text is something."""
        for name in names:
            if name in self.row and not is_null(self.row[name]):
                return name
        return None

    def get(self, *names: str) -> object:
        """Return the first of these cells that holds something; ``None`` if none does."""
        name = self.find(*names)
        if name is None:
            return None
        self.tally.used.add(name)
        return self.row[name]

    def read(self, kind: Kind, *names: str) -> Any:
        """Return the first of these cells, read as one kind.

        Raises:
            DataError: It is missing, or of another kind.
        """
        value = self.get(*names)
        read = kind.read(value)
        if read is None:
            got = f"only {', '.join(self.row) or 'nothing'}" if value is None else _shown_value(value)
            raise self.error(f"expected {kind.name} as {names[0]!r}, got {got}; correct the row")
        return read

    def answer(self, what: str, *names: str) -> tuple[str, object]:
        """Return name and value of the cell that holds an answer.

        Args:
            what: Name of the answer, for the message.
            names: Columns.

        Raises:
            UnusableError: It holds none: nobody answered.
        """
        name = self.find(*names) or names[0]
        value = self.get(name)
        if value is None or value == "":
            raise UnusableError(f"rows without {what}")
        return name, value

    def text(self, *names: str) -> str:
        """Return a cell of text."""
        found: str = self.read(TEXT, *names)
        return found

    def number_of(self, *names: str) -> float:
        """Return a cell that holds a number."""
        found: float = self.read(NUMBER, *names)
        return found

    def messages(self, *names: str) -> tuple[Message, ...]:
        """Return a cell of messages."""
        self.read(MESSAGES, *names)
        return self.parsed(self.get(*names), names[0])

    def shown(self, *names: str) -> Shown:
        """Return a prompt: a text, or messages."""
        return self.as_shown(self.read(SHOWN, *names), names[0])

    def as_shown(self, value: object, name: str) -> Shown:
        """Return a text or a list of messages as a prompt."""
        found = chat(value)
        return as_shown(self.parsed(found, name)) if found else values.as_text(value)

    def parsed(self, value: object, name: str) -> tuple[Message, ...]:
        """Return a list of messages.

        Raises:
            DataError: It is none.
        """
        try:
            return tuple(parse_messages(structure(value)))
        except MessageError as error:
            raise self.error(f"{name!r}: {error}; correct the row") from error

    def error(self, message: str) -> DataError:
        """Return an error about this row."""
        return DataError(f"{self.place}: {message}")

    def about(self, prompt: Shown) -> tuple[str, Shown]:
        """Return key and prompt of a record: the key of the row, or one made from the prompt."""
        key = self.row.get("task_key")
        if isinstance(key, str) and key:
            self.tally.used.add("task_key")
            return key, prompt
        return hashlib.sha256(shown_text(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16], prompt

    def annotator(self, *names: str) -> str:
        """Return the annotator, anonymous if the row names none."""
        value = self.get(*(names or ANNOTATORS))
        match value:
            case str():
                return value.strip() or "anonymous"
            case int() | float():
                return f"{value:g}"
        return "anonymous"


class Kind(NamedTuple):
    """A kind of cell: its name, and a function that reads a cell as it, or returns ``None``."""

    name: str
    read: Callable[[object], object]


def is_null(value: object) -> bool:
    """Return whether a cell holds nothing: ``None``, or the NaN that tables hold instead."""
    return value is None or value != value


def structure(value: object) -> object:
    """Return a list or an object that a table holds as the text of JSON, or of Python; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return value
    with warnings.catch_warnings(action="ignore"):  # of escapes in what turns out to be a text
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


def chat(value: object) -> Sequence[object] | None:
    """Return a list of messages, also one that a table holds as a text; ``None`` for anything else.

    A text that is a list of other objects is a text: a response may be one.
    """
    found = structure(value)
    turns = is_chat(found) and (found is value or any(names <= set(found[0]) for names in _FIELDS))  # type: ignore[index]
    return values.as_list(found) if turns else None


def number(value: object) -> float | None:
    """Return a finite number, also one that is written as a text."""
    try:
        found = float(value) if isinstance(value, str) else values.expect_number(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def label(value: object) -> bool | None:
    """Return a truth value, also as 1 and 0, as 1 and -1, and as a word."""
    return _LABELS.get(str(value).strip().lower())


def objects(value: object) -> list[dict[str, Any]] | None:
    """Return a list of objects that is not empty."""
    found = structure(value)
    items = found if isinstance(found, list | tuple) else []
    return [*items] if items and all(isinstance(item, Mapping) for item in items) else None


def texts(value: object) -> list[str] | None:
    """Return a list of texts that is not empty."""
    found = structure(value)
    items = found if isinstance(found, list | tuple) else []
    return [*items] if items and all(isinstance(item, str) for item in items) else None


def _numbers(value: object) -> list[float] | None:
    found = structure(value)
    read = [number(item) for item in found] if isinstance(found, list | tuple) else []
    numbers = [item for item in read if item is not None]
    return numbers if numbers and len(numbers) == len(read) else None


def _object(value: object) -> dict[str, Any] | None:
    return values.as_object(structure(value)) or None


def _tree(value: object) -> dict[str, Any] | None:
    found = _object(value)
    return found if found and "replies" in found else None


def _with_any(*names: str) -> Callable[[object], object]:
    """Return a reader of lists of objects each of which has one of these fields."""

    def read(value: object) -> list[dict[str, Any]] | None:
        found = objects(value)
        return found if found and all(any(name in item for name in names) for item in found) else None

    return read


def _real_texts(value: object) -> list[str] | None:
    return texts(value) if isinstance(value, list | tuple) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _turns(value: object) -> Sequence[object] | None:
    found = chat(value)
    return found if found and any(names <= set(values.as_object(found[0])) for names in _FIELDS) else None


def _dialogue(value: object) -> str | None:
    return value if isinstance(value, str) and value.startswith(DIALOGUE_START) else None


def _shown_value(value: object) -> str:
    return repr(value)[:60] if isinstance(value, str) else values.got(value)


SCORES = ("score", "pm_score", "overall_score", "rating")
TEXT = Kind("a text", _text)
MESSAGES = Kind("a list of messages", _turns)
SHOWN = Kind("a text or a list of messages", lambda value: _turns(value) or _text(value))
DIALOGUE = Kind("a dialogue '\\n\\nHuman: ...'", _dialogue)
NUMBER = Kind("a number", number)
LABEL = Kind("true or false, 1 or 0, 1 or -1", label)
OBJECT = Kind("an object", _object)
RESPONSE = Kind("a text or a list of texts", lambda value: _text(value) or _real_texts(value))
TEXTS = Kind("a list of texts", texts)
NUMBERS = Kind("a list of numbers", _numbers)
SCORED = Kind("a list of objects with a score", _with_any(*SCORES))
RANKED = Kind("a list of objects with a rank", _with_any("rank"))
RATED = Kind("a list of objects with a response", _with_any("response"))
TREE = Kind("a message with replies", _tree)
OBJECTS = Kind("a list of objects", objects)
ANYTHING = Kind("anything", lambda value: True)
