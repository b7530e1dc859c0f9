"""Votes from elsewhere: whether they are here already, and which question they answer, without its number."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import warnings
from collections.abc import Iterable, Sequence

from textgym.feedback.records.answers import check_answer
from textgym.feedback.records.lines import json_object
from textgym.feedback.records.parsing import record_from_json
from textgym.feedback.store import tables
from textgym.feedback.types import Question, Rating, Record, of_kind, seen_texts
from textgym.security.foreign import parse_json
from textgym.types import JsonObject, Shown
from textgym.values import is_number

_UNKNOWN = {"seconds": None, "time": None, "dwell_seconds": 0.0}


class Answerable:
    """Questions of a store, by what they are about.

    Args:
        db: The store's connection.
        questions: With their numbers; the first one that a vote fits, of those by its criteria if there are any, is the
            one that it answers.
    """

    def __init__(self, db: sqlite3.Connection, questions: Iterable[tuple[int, Question]]) -> None:
        self._db = db
        self._by_subject: dict[tuple[str, Shown, str | None], list[tuple[int, Question]]] = {}
        for item, question in questions:
            for text in (question.responses[0], None):
                self._by_subject.setdefault((question.task_key, question.prompt, text), []).append((item, question))

    def find(self, annotator: str, records: Sequence[Record]) -> int | None:
        """Return the question that records answer and their annotator has not answered; ``None`` if there is none."""
        first = records[0]
        about = self._by_subject.get((first.task_key, first.prompt, _texts(first)[0]), [])
        fitting = [each for each in about if _is_answer(each[1], annotator, records)]
        fitting.sort(key=lambda each: _criteria(records) != set(each[1].criteria))
        return next((item for item, _ in fitting if not tables.has_answered(self._db, annotator, item)), None)


def new_name(db: sqlite3.Connection, vote_id: str, records: Sequence[Record]) -> str | None:
    """Return what to call a vote from elsewhere; ``None`` if it is in the store, undone or not.

    One whose name stands for another person's vote here, or for one about other texts, gets a name that says so, the
    same one wherever it comes to; under either it is known.
    """
    suffix = f"-{_subject(records)}"
    own = vote_id.removesuffix(suffix)
    rows = {name: tables.vote_row(db, name) for name in (vote_id, own, own + suffix)}
    if any(row is not None and _subject(records_from_text(row.records)) == suffix[1:] for row in rows.values()):
        return None
    return vote_id if rows[vote_id] is None else own + suffix


def records_from_text(text: str) -> tuple[Record, ...]:
    """Return the records that a text in ``votes.records`` stands for.

    Times in it that cannot be right count as unknown, so that one of them does not keep all others from being read.
    """
    return tuple(record_from_json(_possible(json_object(row, "store")), "store") for row in parse_json(text))


def _possible(row: JsonObject) -> JsonObject:
    """Return a record as JSON without times that are negative, not finite, or larger than a float."""
    wrong = {name: stand_in for name, stand_in in _UNKNOWN.items() if name in row and not _is_time(name, row[name])}
    if wrong:
        warnings.warn(
            f"read {', '.join(wrong)} of an answer as unknown, since the project holds what cannot be right (negative, "
            "infinite or no number)",
            stacklevel=2,
        )
    return {**row, **wrong}


def _is_time(name: str, value: object) -> bool:
    """Return whether a value can be a number of seconds: since 1970, or of an answer."""
    least = -sys.float_info.max if name == "time" else 0
    return value is None or (is_number(value) and least <= value <= sys.float_info.max)


def _subject(records: Sequence[Record]) -> str:
    """A digest of whose answer it is, and about what; not of what is said about it."""
    about = sorted(json.dumps([each.annotator, each.task_key, each.prompt, *_texts(each)]) for each in records)
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _texts(record: Record) -> tuple[str | None, ...]:
    """The texts that a record is about; of a demonstration the one it was made from."""
    return seen_texts(record) or (None,)


def _criteria(records: Sequence[Record]) -> set[str]:
    return {name for record in of_kind(records, Rating) for name in record.criteria}


def _is_answer(question: Question, annotator: str, records: Sequence[Record]) -> bool:
    try:
        check_answer(question, annotator, records)
    except ValueError:
        return False
    return True
