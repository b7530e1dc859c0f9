"""Which question a vote answers that comes from elsewhere, and does not know it by its number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from textgym.feedback import tables
from textgym.feedback.answers import check_answer
from textgym.types import Question, Record


class Answerable:
    """Questions of a store, by what they are about.

    Args:
        db: The store's connection.
        questions: With their numbers; the first one that a vote fits is the one that it answers.
    """

    def __init__(self, db: sqlite3.Connection, questions: Iterable[tuple[int, Question]]) -> None:
        self._db = db
        self._by_subject: dict[tuple[str, str], list[tuple[int, Question]]] = {}
        for item, question in questions:
            self._by_subject.setdefault((question.task_key, question.prompt), []).append((item, question))

    def find(self, annotator: str, records: Sequence[Record]) -> int | None:
        """Return the question that records answer and their annotator has not answered; ``None`` if there is none."""
        about = self._by_subject.get((records[0].task_key, records[0].prompt), [])
        fitting = (item for item, question in about if _is_answer(question, annotator, records))
        return next((item for item in fitting if not tables.has_answered(self._db, annotator, item)), None)


def _is_answer(question: Question, annotator: str, records: Sequence[Record]) -> bool:
    try:
        check_answer(question, annotator, records)
    except ValueError:
        return False
    return True
