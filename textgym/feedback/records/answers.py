"""Answers to questions: made, checked against their question, and compared with the one that is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypedDict

from textgym.feedback.types import (
    Choice,
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Question,
    Ranking,
    Rating,
    Record,
    of_kind,
)

Expected = Choice | Sequence[int]
"""A choice; ranks; or the lowest and the highest right grade."""


class By(NamedTuple):
    """The origin of an answer: annotator, time (seconds since 1970), and seconds taken."""

    annotator: str
    time: float | None = None
    seconds: float | None = None


class Behaviour(NamedTuple):
    """One user's behaviour towards one response; as in :class:`~textgym.feedback.types.ImplicitFeedback`."""

    position: int
    clicked: bool
    dwell_seconds: float
    scrolled: float = 0.0
    copied: bool = False


def answer_compare(question: Question, choice: Choice, by: By) -> tuple[Comparison, ...]:
    """Return the answer to "compare"; ``choice`` means the responses as the question lists them, however shown."""
    return (_comparison(question, choice, by),)


def answer_rank(question: Question, ranks: Sequence[int], by: By) -> tuple[Ranking, ...]:
    """Return the answer to "rank"; ``ranks[i]`` is the place of ``question.responses[i]``, 1 the best."""
    about = _about(question, by, question.generators)
    return (Ranking(question.task_key, question.prompt, question.responses, tuple(ranks), **about),)


def answer_rate(
    question: Question, ratings: Sequence[int], by: By, criteria: Sequence[Mapping[str, int]] = ()
) -> tuple[Rating, ...]:
    """Return the answer to "rate": one grade, and if wanted one set of grades by criterion, for each response."""
    sets = criteria or [{}] * len(ratings)
    return tuple(
        Rating(
            question.task_key, question.prompt, text, rating, criteria=dict(grades), **_about_one(question, place, by)
        )
        for place, (text, rating, grades) in enumerate(zip(question.responses, ratings, sets, strict=True))
    )


def answer_edit(question: Question, text: str, edited: int | None, choice: Choice | None, by: By) -> tuple[Record, ...]:
    """Return the answer to "edit".

    Args:
        question: Question with one or two responses.
        text: Text that the annotator wrote.
        edited: Index of the response it was made from; ``None`` if it was written from scratch.
        choice: The better one of two responses; ``None`` where there is one.
        by: Annotator, time and seconds of the answer.
    """
    if edited is not None and edited not in range(len(question.responses)):
        raise ValueError(f"expected the number of a response, 0 to {len(question.responses) - 1}, got {edited!r}")
    first = () if choice is None else (_comparison(question, choice, by),)
    source = None if edited is None else question.responses[edited]
    about = _about(question, by, ()) if edited is None else _about_one(question, edited, by)
    return (*first, Demonstration(question.task_key, question.prompt, text, edited_from=source, **about))


def answer_natural(question: Question, behaviours: Sequence[Behaviour], by: By) -> tuple[ImplicitFeedback, ...]:
    """Return the answer to "natural": what was done with each response, in the order of ``question.responses``."""
    return tuple(
        ImplicitFeedback(
            question.task_key, question.prompt, text, *seen[:3], scrolled=seen.scrolled, copied=seen.copied,
            **_about_one(question, place, by),
        )
        for place, (text, seen) in enumerate(zip(question.responses, behaviours, strict=True))
    )  # fmt: skip


def merge_natural(before: Sequence[Record], after: Sequence[Record]) -> tuple[Record, ...]:
    """Return what two reports of natural use of one question say together; in either order, so that none is lost."""
    if not (before and after):
        return tuple(before or after)
    pairs = zip(of_kind(before, ImplicitFeedback), of_kind(after, ImplicitFeedback), strict=True)
    return tuple(_merged(*pair) for pair in pairs)


def _merged(first: ImplicitFeedback, second: ImplicitFeedback) -> ImplicitFeedback:
    return replace(
        second,
        clicked=first.clicked or second.clicked,
        dwell_seconds=max(first.dwell_seconds, second.dwell_seconds),
        scrolled=max(first.scrolled, second.scrolled),
        copied=first.copied or second.copied,
    )


def check_answer(question: Question, annotator: str, records: Sequence[Record]) -> None:
    """Refuse records that are not one annotator's whole answer to a question.

    Raises:
        ValueError: Saying what does not fit.
    """
    kinds = tuple(type(record) for record in records)
    expected = _kinds(question)
    if kinds != expected:
        raise ValueError(
            f"expected {_names(expected)} as the answer to {question.mode} {len(question.responses)}, got "
            f"{_names(kinds)}; send one such answer"
        )
    for rating in of_kind(records, Rating):
        if question.criteria and not set(rating.criteria) <= set(question.criteria):
            raise ValueError(f"expected grades for {question.criteria}, got {dict(rating.criteria)}; leave others out")
    for place, record in enumerate(records):
        same = (record.task_key, record.prompt, record.annotator) == (question.task_key, question.prompt, annotator)
        if not same or not _is_about(question, place, record):
            raise ValueError(
                f"expected record {place} of {annotator!r} about the prompt, responses and generators of the question, "
                f"got {type(record).__name__} of {record.annotator!r} about others; make it with answer_{question.mode}"
            )


def check_question(question: Question) -> None:
    """Refuse a question about equal texts, between which nobody can choose, or for two grades by one criterion.

    An empty text is a text like others.

    Raises:
        ValueError: Saying which are equal.
    """
    first: dict[str, int] = {}
    for place, text in enumerate(question.responses):
        if first.setdefault(text, place) != place:
            raise ValueError(
                f"expected responses that differ, got number {first[text] + 1} and number {place + 1} with the same "
                f"text, {text[:40]!r}; leave one out"
            )
    if len(set(question.criteria)) < len(question.criteria):
        raise ValueError(f"expected criteria that differ, got {question.criteria}; leave one out")


def check_expected(question: Question, expected: Expected) -> None:
    """Refuse the answer to an attention check that nobody could give.

    Raises:
        ValueError: Saying why.
    """
    answer = By("check")
    try:
        match question.mode, expected:
            case "compare", str(choice):
                answer_compare(question, choice, answer)
            case "rank", [*ranks]:
                answer_rank(question, ranks, answer)
            case "rate", [lowest, highest]:
                answer_rate(question, [lowest] * len(question.responses), answer)
                answer_rate(question, [highest] * len(question.responses), answer)
            case _:
                raise ValueError("a choice answers compare, ranks answer rank, lowest and highest grade answer rate")
    except ValueError as error:
        raise ValueError(f"expected the answer to a check of mode {question.mode}, got {expected!r}: {error}") from None


def is_expected(records: Sequence[Record], expected: Expected) -> bool:
    """Return whether every record is the answer that was expected."""
    return all(_agrees(record, expected) for record in records)


def _agrees(record: Record, expected: Expected) -> bool:
    match record, expected:
        case Comparison(choice=choice), _:
            return choice == expected
        case Ranking(ranks=ranks), _:
            return list(ranks) == list(expected)
        case Rating(rating=rating), [lowest, highest]:
            return lowest <= rating <= highest
    return False


def _comparison(question: Question, choice: Choice, by: By) -> Comparison:
    about = _about(question, by, question.generators)
    first, second = question.responses
    return Comparison(question.task_key, question.prompt, first, second, choice, **about)


class _About(TypedDict):
    """The fields common to all records of an answer."""

    annotator: str
    time: float | None
    seconds: float | None
    generators: tuple[str, ...]
    order_seed: int | None


def _about(question: Question, by: By, generators: tuple[str, ...]) -> _About:
    return _About(
        annotator=by.annotator,
        time=by.time,
        seconds=by.seconds,
        generators=generators,
        order_seed=question.order_seed,
    )


def _about_one(question: Question, place: int, by: By) -> _About:
    return _about(question, by, question.generators[place : place + 1])


def _kinds(question: Question) -> tuple[type[Record], ...]:
    count = len(question.responses)
    kinds: dict[str, tuple[type[Record], ...]] = {
        "compare": (Comparison,),
        "rank": (Ranking,),
        "rate": (Rating,) * count,
        "edit": (Comparison, Demonstration)[2 - count :],
        "natural": (ImplicitFeedback,) * count,
    }
    return kinds[question.mode]


def _names(kinds: Sequence[type[Record]]) -> str:
    return ", ".join(kind.__name__ for kind in kinds) or "nothing"


def _is_about(question: Question, place: int, record: Record) -> bool:
    """Return whether a record's responses and generators are the question's."""
    match record:
        case Comparison() | Ranking():
            return (record.responses, record.generators) == (question.responses, question.generators)
        case Demonstration(edited_from=source):
            return source is None or source in question.responses
        case _:
            one = slice(place, place + 1)
            return (record.responses, record.generators) == (question.responses[one], question.generators[one])
