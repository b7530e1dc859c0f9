"""Answers as forms send them: in the order in which the responses were shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

from textgym.feedback.records.answers import (
    Behaviour,
    By,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
)
from textgym.feedback.server.timing import capped_dwell
from textgym.feedback.types import Choice, Mode, Question, Record, shown_order
from textgym.security.foreign import parse_json
from textgym.types import JsonObject

_Read = TypeVar("_Read")
Values = Mapping[str, str]
PLACES = ("first", "second")
_DIGITS = re.compile("[0-9]{1,9}")
LONGEST_TEXT = 200_000
"""Characters of a text that somebody writes, or sends."""


class AnswerError(ValueError):
    """A form was not filled in."""


def read_form(question: Question, values: Values, by: By, elapsed: float) -> tuple[Record, ...]:
    """Return the records that the fields of a form stand for.

    Args:
        question: Question, with the order in which its responses were shown.
        values: ``choice`` ("first", "second", "tie", "both_bad") to compare; ``rank-P`` for the response at place
            ``P``; ``rating-P``, and ``rating-P-C`` for criterion number ``C``; ``text`` and ``choice`` to edit;
            ``behaviour``, a JSON list of one object per place, for natural use.
        by: Annotator, time and seconds of the answer.
        elapsed: Seconds since the question was given out: no text was looked at for longer.

    Raises:
        AnswerError: Something is missing, or no answer.
    """
    try:
        if question.mode == "natural":
            return _natural(question, values, by, elapsed)
        return _READERS[question.mode](question, values, by)
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise AnswerError(f"expected a whole answer, got one in which {_problem(error)}; answer all of it") from error


def _problem(error: Exception) -> str:
    """Return what is wrong with an answer; errors of Python about what no page sends mean nothing to people."""
    return str(error) if isinstance(error, ValueError) else "something is missing"


def _whole(value: str) -> int:
    """Return a whole number as the page sends it: in the digits 0 to 9."""
    if not _DIGITS.fullmatch(value):
        raise ValueError(f"{value[:20]!r} is no rank or grade" if value else "a rank or grade is missing")
    return int(value)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # of any type
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a time or a share is no number") from None


def _compare(question: Question, values: Values, by: By) -> tuple[Record, ...]:
    return answer_compare(question, _choice(question, values["choice"]), by)


def _choice(question: Question, value: str) -> Choice:
    """Return the choice between responses as the question lists them."""
    if value in PLACES:
        return "b" if shown_order(2, question.order_seed)[PLACES.index(value)] else "a"
    if value not in get_args(Choice) or value in ("a", "b"):
        raise ValueError(f"{value[:20]!r} is no choice")
    return "tie" if value == "tie" else "both_bad"


def _rank(question: Question, values: Values, by: By) -> tuple[Record, ...]:
    """Read ranks; what is left out between them does not count: 2, 3, 3 is 1, 2, 2.

    The page leaves all of them empty until somebody has changed the order shown, or said that it is their answer.
    """
    if not any(values.get(f"rank-{place}") for place in range(len(question.responses))):
        raise ValueError("the order shown was neither changed nor confirmed")
    given = _as_listed(question, lambda place: _whole(values[f"rank-{place}"]))
    return answer_rank(question, [1 + sum(other < rank for other in given) for rank in given], by)


def _rate(question: Question, values: Values, by: By) -> tuple[Record, ...]:
    ratings = _as_listed(question, lambda place: _whole(values[f"rating-{place}"]))
    criteria = _as_listed(
        question,
        lambda place: {
            name: _whole(values[f"rating-{place}-{number}"]) for number, name in enumerate(question.criteria)
        },
    )
    return answer_rate(question, ratings, by, criteria)


def _edit(question: Question, values: Values, by: By) -> tuple[Record, ...]:
    text = written_text(values["text"].replace("\r\n", "\n"))
    if not text.strip():
        raise ValueError("the text is empty")
    if len(question.responses) == 1:
        return answer_edit(question, text, 0, None, by)
    choice = _choice(question, values["choice"])
    return answer_edit(question, text, edited_response(question, values["choice"]), choice, by)


def written_text(text: str) -> str:
    """Return what somebody wrote.

    Raises:
        ValueError: It is longer than a text may be.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"expected a text of at most {LONGEST_TEXT:,} characters, got {len(text):,}; shorten it")
    return text


def edited_response(question: Question, value: str) -> int | None:
    """Return the index of the response to edit after a choice: the better one, the first shown of equal ones."""
    if value == "both_bad":
        return None
    order = shown_order(len(question.responses), question.order_seed)
    return order[PLACES.index(value)] if value in PLACES else order[0]


def _natural(question: Question, values: Values, by: By, elapsed: float) -> tuple[Record, ...]:
    rows = parse_json(values["behaviour"])
    if len(rows) != len(question.responses):
        raise ValueError(f"{len(rows)} reports about {len(question.responses)} responses")
    return answer_natural(question, _as_listed(question, lambda place: _behaviour(place, rows[place], elapsed)), by)


def _behaviour(place: int, row: JsonObject, elapsed: float) -> Behaviour:
    seconds = capped_dwell(_number(row["seconds"]), elapsed)
    return Behaviour(place, bool(row["clicked"]), seconds, min(_number(row["scrolled"]), 1.0), bool(row["copied"]))


def _as_listed(question: Question, read: Callable[[int], _Read]) -> list[_Read]:
    """Read what was said about the response at each place; return it in the order of the question."""
    order = shown_order(len(question.responses), question.order_seed)
    return [read(order.index(index)) for index in range(len(order))]


_READERS: Mapping[Mode, Callable[[Question, Values, By], tuple[Record, ...]]] = {
    "compare": _compare,
    "rank": _rank,
    "rate": _rate,
    "edit": _edit,
}
