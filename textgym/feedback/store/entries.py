"""The entries of a feedback store: questions with how to ask them, assignments, votes, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from textgym.feedback.records.answers import Expected
from textgym.feedback.types import Question, Record


@dataclass(frozen=True, slots=True)
class Assignment:
    """A question that somebody was asked.

    Attributes:
        item: Number of the question in the store.
        question: With the seed of the order to show its responses in.
        started: When it was asked, in seconds since 1970.
    """

    item: int
    question: Question
    started: float


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer.

    Attributes:
        id: Name that its sender gave it.
        item: Number of the question; ``None`` for imported records.
        annotator: Annotator who answered.
        received: When the store got it, in seconds since 1970.
        records: Records of the answer; empty for a skip.
        is_check: Whether the question was an attention check.
    """

    id: str
    item: int | None
    annotator: str
    received: float
    records: tuple[Record, ...]
    is_check: bool

    @property
    def skipped(self) -> bool:
        """Return whether the question was skipped."""
        return not self.records


class Planned(NamedTuple):
    """A question with what the store knows about asking it.

    Attributes:
        question: Question to ask.
        overlap: How many annotators to ask.
        priority: The higher, the earlier.
        expected: The answer, if it is an attention check.
    """

    question: Question
    overlap: int = 1
    priority: float = 0.0
    expected: Expected | None = None


class Progress(NamedTuple):
    """The progress of the questions, attention checks left out.

    Attributes:
        items: Number of questions.
        complete: Number of questions with as many votes as wanted.
        votes: Votes on them.
        wanted: Votes wanted on all of them.
    """

    items: int
    complete: int
    votes: int
    wanted: int


class AnnotatorProgress(NamedTuple):
    """One annotator's numbers of questions answered, skipped, and still to come (attention checks included)."""

    answered: int
    skipped: int
    remaining: int
