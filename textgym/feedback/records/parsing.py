"""Records of feedback as plain objects, and back: the one parser of records, whatever they come from.

An object is ``{"kind": "comparison", "task_key": ..., "prompt": ..., ...}``, with the fields of its class in
:mod:`textgym.feedback.types`; fields at their default may be missing, unknown ones are ignored. A prompt is a text, or
a list of messages ``{"role": ..., "content": ...}``; a text of lines ``"User: ..."`` and ``"Assistant: ..."``, which
earlier versions wrote of a conversation, becomes its messages. Comparisons without a kind, and the rows of published
preference data, are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields

from textgym import values
from textgym.errors import DataError, did_you_mean
from textgym.feedback.records.dialogues import flattened_messages
from textgym.feedback.records.lines import EXPORT_RECORDS
from textgym.feedback.records.preferences import from_preference_row
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Question, Ranking, Rating, Record
from textgym.text.messages import MessageError, is_chat, parse_messages
from textgym.types import JsonObject, Message, Shown, as_shown, shown_messages, shown_text

KINDS: Mapping[str, type[Record]] = {
    "comparison": Comparison,
    "ranking": Ranking,
    "rating": Rating,
    "demonstration": Demonstration,
    "implicit": ImplicitFeedback,
}
_ANSWERS = ("ranks", "rank", "order", "scores", "ratings")
_Read = Callable[[object], object]
KIND_OF = {record: kind for kind, record in KINDS.items()}


def record_to_json(record: Record) -> dict[str, object]:
    """Return a record as an object of plain data, its kind first."""
    plain = _plain(record)
    return {"kind": KIND_OF[type(record)], **plain}


def question_to_json(question: Question) -> dict[str, object]:
    """Return a question as an object of plain data."""
    return _plain(question)


def question_from_json(row: JsonObject) -> Question:
    """Return the question that an object stands for; the inverse of :func:`question_to_json`.

    Raises:
        KeyError, TypeError, ValueError: It is no such object.
    """
    lists = {name: tuple(row[name]) for name in ("responses", "generators", "criteria")}
    return Question(**{**row, **lists, "prompt": shown_from_json(row["prompt"])})


def shown_to_json(prompt: Shown) -> str | list[dict[str, str]]:
    """Return a prompt as plain data: a text, or ``{"role", "content"}`` objects.

    A text that looks like a conversation of an earlier version is the one message of a user, so that it stays a text.
    """
    messages, text = shown_messages(prompt), shown_text(prompt)
    if not messages and not flattened_messages(text):
        return text
    return [message._asdict() for message in messages or (Message("user", text),)]


def shown_from_json(value: object) -> Shown:
    """Return a prompt; the inverse of :func:`shown_to_json`, which also reads what earlier versions wrote.

    Raises:
        TypeError: It is neither a text nor a list of messages.
    """
    match value:
        case str():
            return flattened_messages(value) or value
        case _ if not is_chat(value):
            raise TypeError(f"expected a text or a list of messages as the prompt, got {values.got(value)}")
    try:
        messages = tuple(parse_messages(value))
    except MessageError as error:
        raise TypeError(f"expected messages as the prompt: {error}") from error
    return as_shown(messages) if flattened_messages(messages[0].content) else messages


def _plain(item: Record | Question) -> dict[str, object]:
    """Return the fields of a record or a question as plain data."""
    plain: dict[str, object] = values.field_values(item)
    match item:
        case Rating():
            plain["criteria"] = dict(item.criteria)
    return plain | {"prompt": shown_to_json(item.prompt)}


def record_from_json(row: JsonObject, place: str) -> Record:
    """Return the record that an object describes; the inverse of :func:`record_to_json`.

    Args:
        row: The object.
        place: Where it stands, for error messages, such as ``"votes.jsonl:3"``.

    Raises:
        DataError: Naming the place, if it describes none.
    """
    if "kind" not in row:
        if "chosen" in row:
            return from_preference_row(row, place)
        refuse_questions(row, place)
    kind = row.get("kind", "comparison")
    record = KINDS.get(str(kind))
    if record is None:
        raise DataError(f"{place}: expected a known kind of record, got {kind!r}.{did_you_mean(str(kind), KINDS)}")
    read = _read_values(row, record, place)
    try:
        return record(**read)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from error


def refuse_questions(row: JsonObject, place: str) -> None:
    """Refuse a line that :mod:`textgym.feedback` wrote to ask something.

    Raises:
        DataError: It is a question.
    """
    if is_question(row):
        raise DataError(f"{place}: expected a record, got a question, not its answers; {EXPORT_RECORDS}")


def is_check(row: JsonObject) -> bool:
    """Return whether a line of exported votes answers an attention check, from which nothing is learned."""
    return row.get("check") is True


def is_question(row: JsonObject) -> bool:
    """Return whether a line of a file is meant to be a question, not an answer to one."""
    return "responses" in row and row.keys().isdisjoint(_ANSWERS)


def is_record(row: JsonObject) -> bool:
    """Return whether a line of a file is meant to be a record as it is written here, of a known kind or not."""
    if "kind" in row:
        return "task_key" in row or str(row["kind"]) in KINDS
    return {"task_key", "response_a", "response_b"} <= row.keys()


def _read_values(row: JsonObject, record: type[Record], place: str) -> JsonObject:
    known = {field.name: field for field in fields(record)}
    missing = [
        name
        for name, field in known.items()
        if name not in row and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise DataError(
            f"{place}: expected {missing[0]!r} of a {KIND_OF[record]}, got only {', '.join(row) or 'nothing'}; add it"
        )
    return {name: _read_value(row[name], name, place) for name in known if name in row}


def _read_value(value: object, name: str, place: str) -> object:
    kind, read = _TYPES[name]
    try:
        return read(value)
    except TypeError:
        raise DataError(f"{place}: expected {kind} as {name!r}, got {values.got(value)}; correct the line") from None


def _optional(read: _Read) -> _Read:
    return lambda value: None if value is None else read(value)


def _list(read: _Read) -> _Read:
    return lambda value: tuple(map(read, values.expect_list(value)))


def _grades(value: object) -> dict[str, int]:
    return {name: values.expect_integer(grade) for name, grade in values.expect_object(value).items()}


_TYPES: Mapping[str, tuple[str, _Read]] = {
    **dict.fromkeys(
        ("task_key", "annotator", "response_a", "response_b", "choice", "response"), ("a text", values.expect_text)
    ),
    "prompt": ("a text or a list of messages", shown_from_json),
    **dict.fromkeys(("rating", "position"), ("a whole number", values.expect_integer)),
    **dict.fromkeys(("dwell_seconds", "scrolled"), ("a number", values.expect_number)),
    **dict.fromkeys(("clicked", "copied"), ("true or false", values.expect_boolean)),
    **dict.fromkeys(("time", "seconds"), ("a number or null", _optional(values.expect_number))),
    **dict.fromkeys(("generators", "responses"), ("a list of texts", _list(values.expect_text))),
    "order_seed": ("a whole number or null", _optional(values.expect_integer)),
    "edited_from": ("a text or null", _optional(values.expect_text)),
    "ranks": ("a list of whole numbers", _list(values.expect_integer)),
    "criteria": ("an object of whole numbers", _grades),
}
