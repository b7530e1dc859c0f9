"""Records that say less than their number: copies of each other, and annotators who always answer the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from textgym.feedback.types import (
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Ranking,
    Rating,
    Record,
    shown_order,
)

_FEW = 10  # answers that may be the same by chance
_RARE = 0.01  # share of repeats that changes nothing: somebody is asked the same thing twice by chance
_ANONYMOUS = "anonymous"


class ConstantAnnotator(NamedTuple):
    """An annotator whose answers to one kind of question are all the same.

    Attributes:
        annotator: The name.
        answers: Number of the answers.
        always: The answer, in words.
    """

    annotator: str
    answers: int
    always: str


def count_repeats(records: Iterable[Record]) -> int:
    """Return how many records say what an earlier one says: same prompt, texts, annotator and answer.

    In which order the texts are listed or were shown, and when, makes no difference.
    """
    said = Counter((record.prompt, record.annotator, _said(record)) for record in records)
    return said.total() - len(said)


def _said(record: Record) -> Hashable:
    match record:
        case Comparison(choice="a" | "b"):
            return "comparison", record.chosen, record.rejected
        case Comparison():
            return "comparison", frozenset(record.responses), record.choice
        case Ranking():
            return "ranking", frozenset(Counter(zip(record.responses, record.ranks, strict=True)).items())
        case Rating():
            return "rating", record.response, record.rating, frozenset(record.criteria.items())
        case Demonstration():
            return "demonstration", record.response, record.edited_from
        case ImplicitFeedback():
            return "implicit", record.response, record.position, record.clicked, record.dwell_seconds, record.time


def constant_annotators(records: Iterable[Record]) -> list[ConstantAnnotator]:
    """Return who gave every text the same grade, or always preferred the same side of the page, ten times or more.

    Comparisons and rankings count where it is known that the order of the texts was drawn: in published pairs the
    better text is often listed first.
    """
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        answer = _answer(record)
        if answer is not None:
            answers[record.annotator, type(record).__name__].append(answer)
    return [
        ConstantAnnotator(name, len(given), given[0])
        for (name, _), given in answers.items()
        if len(given) >= _FEW and len(set(given)) == 1
    ]


def _answer(record: Record) -> str | None:
    """Return an answer in words, as the annotator saw the question; ``None`` if that is unknown."""
    match record:
        case Rating(rating=grade):
            return f"the grade {grade}"
        case Comparison(choice="tie" | "both_bad"):
            return record.choice.replace("_", " ")
        case Comparison(order_seed=int(seed)):
            return f"text {1 + shown_order(2, seed).index('ab'.index(record.choice))} on the page"
        case Ranking(order_seed=int(seed), ranks=ranks):
            places = [ranks[place] for place in shown_order(len(ranks), seed)]
            return f"the places {', '.join(map(str, places))} in the order of the page"
    return None


def oddities(records: Sequence[Record]) -> list[str]:
    """Say what makes records worth less than their number; nothing if nothing does."""
    repeats, found = count_repeats(records), []
    if repeats > _RARE * len(records):
        found.append(
            f"{repeats:,} of {len(records):,} records say what another one says (same prompt, texts, annotator and "
            "answer). A fit counts each of them; intervals count answers about one prompt for what they are worth "
            f"together, so they do not get narrower. Remove them if they are copies{_unless_anonymous(records)}"
        )
    return found + [
        f"{name} gave the same answer {answers:,} times ({always}): {_what_follows(records, name)}"
        for name, answers, always in constant_annotators(records)
    ]


def _unless_anonymous(records: Sequence[Record]) -> str:
    unnamed = any(record.annotator == _ANONYMOUS for record in records)
    return "; name the annotators if they are the answers of several" if unnamed else ""


def _what_follows(records: Sequence[Record], name: str) -> str:
    others: Mapping[str, int] = Counter(record.annotator for record in records)
    return "nothing can be learned from that" if len(others) == 1 else "look at these answers, or leave them out"
