"""The store: questions, who was asked which, and votes, in one SQLite file that many may use at once.

A vote is what one annotator answered to one question: one or more records, or none if it was skipped. Whatever
:meth:`FeedbackStore.vote` has returned for survives a crash of the program and of the machine.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from textgym.errors import TextGymError
from textgym.feedback.records.answers import (
    Expected,
    check_answer,
    check_expected,
    check_question,
    is_expected,
    merge_natural,
)
from textgym.feedback.records.parsing import record_to_json
from textgym.feedback.store import tables
from textgym.feedback.store.database import Database
from textgym.feedback.store.entries import AnnotatorProgress, Assignment, Planned, Progress, Vote
from textgym.feedback.store.joining import Answerable, new_name, records_from_text
from textgym.feedback.store.moderation import Moderation, require_unblocked
from textgym.feedback.store.schema import APPLICATION_ID, MIGRATIONS
from textgym.feedback.types import Mode, Question, Record
from textgym.security.foreign import parse_json

LEASE_SECONDS = 1800.0
CHECK_EVERY = 10
_LONGEST_NAME = 200
_LARGEST_SEED = 2**31 - 1


class VoteConflictError(TextGymError, ValueError):
    """A vote contradicts one that is already there; the first one counts."""


class FeedbackStore:
    """Questions and votes in a file; safe to use from several threads, and from several processes with a store each.

    Args:
        path: The file; made if there is none, brought to the newest version if it is older.
        timeout: Seconds to wait while others write.
        clock: Returns seconds since 1970.

    Attributes:
        moderation: Annotators whose answers do not count, or who may not answer.

    Raises:
        DataError: The file is no store, damaged, or newer than this textgym.
        PermissionError: It cannot be written.
        TimeoutError: Others kept it locked. Every method may raise it.
    """

    def __init__(self, path: str | Path, *, timeout: float = 30.0, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, APPLICATION_ID, MIGRATIONS, timeout)
        self._clock = clock
        self.moderation = Moderation(self._database, clock)
        self._salt = self.update_setting("salt", lambda salt: salt or secrets.token_hex(16))

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._database.close()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Settings

    def setting(self, name: str, default: Any = None) -> Any:
        """Return plain data kept under a name (title, guidelines, accounts, ...), or ``default``."""
        with self._database.read() as db:
            return tables.setting(db, name, default)

    def update_setting(self, name: str, change: Callable[[Any], Any]) -> Any:
        """Replace plain data by what ``change`` makes of it (``None`` the first time), and return it.

        Nobody else writes to the store meanwhile.
        """
        with self._database.write() as db:
            value = change(tables.setting(db, name, None))
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
        return value

    # Questions

    def add(self, questions: Iterable[Question], *, overlap: int = 1, priority: float = 0.0) -> list[int]:
        """Add questions; of one that is there already, the larger overlap counts and the priority stays.

        Args:
            questions: Questions to ask; ``order_seed`` is ignored, since every annotator gets an order of their own.
            overlap: How many annotators to ask each.
            priority: Questions of higher priority are asked first; equal ones in the order they were added.

        Returns:
            Numbers of the questions in the store.

        Raises:
            ValueError: If ``overlap`` is below 1, or a question has the same text twice.
        """
        if overlap < 1:
            raise ValueError(f"expected one annotator or more per question, got overlap {overlap}; raise it")
        return self.add_plan(Planned(question, overlap, priority) for question in questions)

    def add_checks(self, questions: Sequence[Question], expected: Sequence[Expected]) -> list[int]:
        """Add questions whose answer is known, to see who pays attention; every annotator is asked all of them.

        One in ten questions is a check, at a place that differs between annotators, while there are any.

        Args:
            questions: To compare, rank or rate.
            expected: Right answers: a choice; ranks; or the lowest and highest right grade, for every response.

        Returns:
            Numbers of the questions in the store.

        Raises:
            ValueError: If an answer does not fit its question, or a question has the same text twice.
        """
        return self.add_plan(
            Planned(question, expected=answer) for question, answer in zip(questions, expected, strict=True)
        )

    def add_plan(self, plan: Iterable[Planned]) -> list[int]:
        """Add questions and attention checks, all or none; otherwise as :meth:`add` and :meth:`add_checks`."""
        rows = list(plan)
        for row in rows:
            check_question(row.question)
            if row.expected is not None:
                check_expected(row.question, row.expected)
        with self._database.write() as db:
            items = [tables.add(db, row.question, row.expected, row.overlap, row.priority) for row in rows]
            new = [(item, row.question) for item, row in zip(items, rows, strict=True) if row.expected is None]
            self._join(db, Answerable(db, new))
        return items

    def _join(self, db: sqlite3.Connection, asked: Answerable) -> None:
        """Count votes that were here before their questions."""
        for vote_id, annotator, text in tables.loose_votes(db):
            item = asked.find(annotator, records_from_text(text))
            if item is not None:
                tables.put_on_question(db, vote_id, item, annotator, self._clock(), text)

    def plan(self) -> list[Planned]:
        """Return all questions in the order they were added; the inverse of :meth:`add_plan`."""
        with self._database.read() as db:
            rows = db.execute("SELECT question, overlap, priority, expected FROM items ORDER BY id").fetchall()
        return [
            Planned(tables.parse_question(text), overlap, priority, None if answer is None else parse_json(answer))
            for text, overlap, priority, answer in rows
        ]

    def set_priorities(self, priorities: Mapping[int, float]) -> None:
        """Change which questions are asked first, by their numbers: all, or none if there is no such question."""
        with self._database.write() as db:
            for item, priority in priorities.items():
                tables.question(db, item)
                db.execute("UPDATE items SET priority = ? WHERE id = ?", (priority, item))

    def questions(self) -> dict[int, Question]:
        """Return all questions, attention checks included, by their numbers."""
        with self._database.read() as db:
            rows = db.execute("SELECT id, question FROM items ORDER BY id").fetchall()
        return {item: tables.parse_question(text) for item, text in rows}

    def has_checks(self) -> bool:
        """Return whether any of the questions is an attention check."""
        with self._database.read() as db:
            return db.execute("SELECT 1 FROM items WHERE expected IS NOT NULL LIMIT 1").fetchone() is not None

    # Asking

    def assign(self, annotator: str, mode: Mode | None = None, *, reserve: bool = True) -> Assignment | None:
        """Return what to ask an annotator now: the question they left open, or else a new one.

        Nobody is asked a question twice, nor one that others have answered, or are answering since less than half an
        hour, as often as wanted.

        Args:
            annotator: Annotator to ask.
            mode: Ask only this kind of question.
            reserve: Count them as answering it; of somebody who may only be looking, the question stays for others.

        Returns:
            The question, ``None`` if there is none left.

        Raises:
            BlockedError: The annotator may not answer.
        """
        _check_name(annotator)
        now = self._clock()
        # Losing who was asked what in a power failure is harmless, so that nobody waits for the disk here.
        with self._database.write(durable=False) as db:
            require_unblocked(db, annotator)
            item = tables.left_open(db, annotator, mode)
            if item is None:
                item = self._choose(db, annotator, mode, now)
            if item is None:
                return None
            tables.open_assignment(db, item, annotator, now, reserve=reserve)
            question = tables.question(db, item)
        return Assignment(item, self._ordered(question, item, annotator), now)

    def assignment(self, annotator: str, item: int) -> Assignment | None:
        """Return what an annotator was asked, answered or not; ``None`` if they were never asked that."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT question, started FROM items JOIN assignments ON item = id WHERE id = ? AND annotator = ?",
                (item, annotator),
            ).fetchone()
        return (
            None
            if row is None
            else Assignment(item, self._ordered(tables.parse_question(row[0]), item, annotator), row[1])
        )

    def take_back(self, annotator: str, mode: Mode) -> None:
        """Forget which questions of a kind an annotator was asked and has not answered; others may be asked them."""
        with self._database.write() as db:
            tables.close_open(db, annotator, mode)

    def _choose(self, db: sqlite3.Connection, annotator: str, mode: Mode | None, now: float) -> int | None:
        (asked,) = db.execute("SELECT COUNT(*) FROM assignments WHERE annotator = ?", (annotator,)).fetchone()
        block, place = divmod(asked, CHECK_EVERY)
        if self._hash(f"check:{annotator}:{block}") % CHECK_EVERY == place:
            check = tables.next_check(db, annotator, mode)
            if check is not None:
                return check
        return tables.next_item(db, annotator, mode, now - LEASE_SECONDS)

    def _ordered(self, question: Question, item: int, annotator: str) -> Question:
        return replace(question, order_seed=self._hash(f"order:{item}:{annotator}") % _LARGEST_SEED)

    def _hash(self, text: str) -> int:
        digest = hashlib.sha256(f"{self._salt}:{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big")

    # Votes

    def vote(self, vote_id: str, annotator: str, item: int, records: Sequence[Record], *, revise: bool = False) -> bool:
        """Keep an answer. When this returns, it is on the disk.

        Args:
            vote_id: Name that the sender made up for this vote and sends again if no reply comes: a vote that is sent
                twice is one vote. One that was undone stays undone.
            annotator: Annotator who answered.
            item: Number of the question.
            records: The answer (:attr:`~textgym.feedback.types.Question.mode` says which records); none skips the
                question.
            revise: Add the vote to an earlier one of the same name, as reports of natural use do that grow while
                somebody reads; a report that was overtaken by a later one takes nothing back.

        Returns:
            True for a new or revised vote; False for one that was sent again.

        Raises:
            ValueError: The records do not answer that question, or there is no such question.
            VoteConflictError: The annotator has answered the question under another name, or the name stands for
                another vote.
            BlockedError: The annotator may not answer.
        """
        _check_name(annotator)
        _check_name(vote_id)
        text = _records_text(records)
        records_from_text(text)  # what could not be read again is refused before it is acknowledged
        with self._database.write() as db:
            require_unblocked(db, annotator)
            known = tables.vote_row(db, vote_id)
            if known is not None and (known.annotator, known.item) != (annotator, item):
                raise VoteConflictError(
                    f"expected a new name for a vote of {annotator!r} on question {item}, got {vote_id!r}, which names "
                    "another vote; draw a random one"
                )
            if known is not None and not (revise and known.undone is None):
                return False
            question = tables.question(db, item)
            if records:
                check_answer(question, annotator, records)
            if known is not None:
                grown = merge_natural(records_from_text(known.records), records)
                tables.revise(db, item, vote_id, annotator, known.records, _records_text(grown))
                return True
            if tables.has_answered(db, annotator, item):
                raise VoteConflictError(
                    f"expected one vote of {annotator!r} on question {item}, got a second, {vote_id!r}; undo the first"
                )
            tables.insert_vote(db, vote_id, item, annotator, self._clock(), text)
        return True

    def skip(self, vote_id: str, annotator: str, item: int) -> bool:
        """Skip a question; otherwise as :meth:`vote`."""
        return self.vote(vote_id, annotator, item, ())

    def undo(self, annotator: str, vote_id: str) -> bool:
        """Take an answer back; its question is open again, the next that :meth:`assign` returns if it wants answers.

        Returns:
            True if the vote was there; False if it was undone before.

        Raises:
            ValueError: The annotator has no such vote on a question.
        """
        with self._database.write() as db:
            row = tables.vote_row(db, vote_id)
            if row is None or row.annotator != annotator or row.item is None:
                raise ValueError(f"expected a vote of {annotator!r} to undo, got {vote_id!r}; name one of their votes")
            if row.undone is not None:
                return False
            now = self._clock()
            db.execute("UPDATE votes SET undone = ? WHERE id = ?", (now, vote_id))
            tables.open_assignment(db, row.item, annotator, max(now, tables.last_opened(db, annotator) + 0.001))
            tables.count(db, row.item, annotator, 0 if row.records == tables.SKIP else -1)
        return True

    def annotators(self) -> set[str]:
        """Return the names of everybody who has an account, a vote, or something that they were asked."""
        with self._database.read() as db:
            return tables.annotators(db)

    def last_vote(self, annotator: str) -> Vote | None:
        """Return the newest vote of an annotator that was not undone: the one that "undo" means."""
        with self._database.read() as db:
            row = db.execute(
                f"{tables.SELECT_VOTES} AND annotator = ? AND item IS NOT NULL ORDER BY number DESC LIMIT 1",
                (annotator,),
            ).fetchone()
        return None if row is None else _vote(row)

    def votes(self, annotator: str | None = None, *, excluded: bool = False) -> list[Vote]:
        """Return the votes that were not undone, skips included, oldest first; of one annotator if named.

        Those of annotators who were excluded (:attr:`moderation`) are returned only on request.
        """
        whose, values = ("AND annotator = ?", (annotator,)) if annotator is not None else ("", ())
        with self._database.read() as db:
            rows = db.execute(f"{tables.SELECT_VOTES} {whose} ORDER BY number", values).fetchall()
            left_out = frozenset() if excluded else tables.names(db, tables.EXCLUDED)
        return [_vote(row) for row in rows if row[2] not in left_out]

    def records(self, *, checks: bool = False, excluded: bool = False) -> list[Record]:
        """Return all records, oldest first; those of attention checks, and of excluded annotators, only on request."""
        votes = self.votes(excluded=excluded)
        return [record for vote in votes if checks or not vote.is_check for record in vote.records]

    def left_out(self) -> dict[str, int]:
        """Return how many answers of every excluded annotator are left out of :meth:`records`, skips not counted."""
        with self._database.read() as db:
            counts = db.execute(
                "SELECT annotator, COUNT(*) FROM votes WHERE undone IS NULL AND records != ? GROUP BY annotator",
                (tables.SKIP,),
            ).fetchall()
            return {name: count for name, count in counts if name in tables.names(db, tables.EXCLUDED)}

    def add_votes(
        self, votes: Iterable[tuple[str, Sequence[Record]]], checks: Iterable[tuple[str, Sequence[Record]]] = ()
    ) -> int:
        """Keep votes from elsewhere, all or none; each is a name and the records of one annotator.

        A vote that answers a question of the store counts there, and its annotator is not asked that again; others wait
        until such a question is added.

        Args:
            votes: One that is here under its name is skipped; where the name stands for another one here (of
                somebody else, or about other texts), it gets a new one.
            checks: Votes that answer attention checks; those whose check is not in the store are skipped.

        Returns:
            Number of new votes.

        Raises:
            ValueError: A vote has no records.
        """
        with self._database.write() as db:
            asked = Answerable(db, tables.questions(db, checks=False))
            new = sum(self._add_vote(db, *vote, asked, must_fit=False) for vote in votes)
            asked = Answerable(db, tables.questions(db, checks=True))
            return new + sum(self._add_vote(db, *check, asked, must_fit=True) for check in checks)

    def _add_vote(
        self, db: sqlite3.Connection, vote_id: str, records: Sequence[Record], asked: Answerable, *, must_fit: bool
    ) -> bool:
        if not records:
            raise ValueError(f"expected one record or more in vote {vote_id!r}, got none; leave it out")
        annotator = records[0].annotator
        _check_name(annotator)
        name = new_name(db, vote_id, records)
        if name is None:
            return False
        item = asked.find(annotator, records)
        if item is None and must_fit:
            return False
        tables.insert_vote(db, name, item, annotator, self._clock(), _records_text(records))
        return True

    # Counts

    def progress(self) -> Progress:
        """Count questions and votes, attention checks left out."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT COUNT(*), TOTAL(votes >= overlap), TOTAL(votes), TOTAL(overlap) FROM items "
                "WHERE expected IS NULL"
            ).fetchone()
        return Progress(*map(int, row))

    def missing(self, items: Iterable[int]) -> int:
        """Count those of some questions that somebody still could answer, by their numbers.

        Not counted: those with enough votes, and those that everybody who voted on any of them has answered or skipped,
        if these are as many people as each question wants.
        """
        with self._database.read() as db:
            return len(tables.unanswered(db, items))

    def annotator_progress(self, annotator: str) -> AnnotatorProgress:
        """Count the questions of one annotator; those that others answer meanwhile drop out of ``remaining``."""
        with self._database.read() as db:
            answered, skipped = db.execute(
                "SELECT TOTAL(records != '[]'), TOTAL(records = '[]') FROM votes "
                "WHERE annotator = ? AND item IS NOT NULL AND undone IS NULL",
                (annotator,),
            ).fetchone()
            (remaining,) = db.execute(
                "SELECT COUNT(*) FROM items LEFT JOIN assignments ON item = id AND annotator = ? "
                "WHERE (open OR open IS NULL) AND (votes < overlap OR expected IS NOT NULL)",
                (annotator,),
            ).fetchone()
        return AnnotatorProgress(int(answered), int(skipped), remaining)

    def vote_times(self) -> list[tuple[float, str]]:
        """Return time and annotator of every vote that is no skip, not undone, and of nobody excluded, oldest first."""
        with self._database.read() as db:
            rows: list[tuple[float, str]] = db.execute(
                "SELECT received, annotator FROM votes WHERE undone IS NULL AND records != '[]' ORDER BY number"
            ).fetchall()
            left_out = tables.names(db, tables.EXCLUDED)
        return [row for row in rows if row[1] not in left_out]

    def attention(self) -> dict[str, tuple[int, int]]:
        """Return by annotator how many attention checks were answered as expected, out of how many."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT v.annotator, v.records, i.expected FROM votes v JOIN items i ON v.item = i.id "
                "WHERE v.undone IS NULL AND v.records != '[]' AND i.expected IS NOT NULL ORDER BY v.annotator"
            ).fetchall()
        found: dict[str, tuple[int, int]] = {}
        for annotator, records, expected in rows:
            right, asked = found.get(annotator, (0, 0))
            passed = is_expected(records_from_text(records), parse_json(expected))
            found[annotator] = (right + int(passed), asked + 1)
        return found


def _vote(row: Sequence[Any]) -> Vote:
    vote_id, item, annotator, received, records, is_check = row
    return Vote(vote_id, item, annotator, received, records_from_text(records), bool(is_check))


def _records_text(records: Sequence[Record]) -> str:
    return json.dumps([record_to_json(record) for record in records])


def _check_name(name: str) -> None:
    """Refuse names that are no names: they come from outside."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"expected a name of 1 to {_LONGEST_NAME} visible characters, got {name[:40]!r}; choose another one"
        )
