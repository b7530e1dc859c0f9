"""The statements that ask and change the tables of a feedback store."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from textgym.feedback.records.answers import Expected
from textgym.feedback.records.parsing import question_from_json, question_to_json
from textgym.feedback.types import Mode, Question
from textgym.security.foreign import parse_json

SKIP = "[]"  # the records of a skip
ACCOUNTS, EXCLUDED, BLOCKED = "accounts", "excluded", "blocked"  # settings
_RESERVED, _SHOWN = 1, 2  # values of assignments.open; 0 is answered
SELECT_VOTES = (
    "SELECT votes.id, item, annotator, received, records, expected IS NOT NULL FROM votes "
    "LEFT JOIN items ON items.id = item WHERE undone IS NULL"
)


class VoteRow(NamedTuple):
    """The row of a vote in its table."""

    item: int | None
    annotator: str
    records: str
    undone: float | None


def add(db: sqlite3.Connection, question: Question, expected: Expected | None, overlap: int, priority: float) -> int:
    """Add a question; one that is there keeps all but a smaller overlap. Return its number."""
    name = digest(question, expected)
    db.execute(
        "INSERT INTO items (digest, mode, question, expected, overlap, priority) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (digest) DO UPDATE SET overlap = MAX(overlap, excluded.overlap)",
        (name, question.mode, _question_text(question), _expected_text(expected), overlap, priority),
    )
    return int(db.execute("SELECT id FROM items WHERE digest = ?", (name,)).fetchone()[0])


def digest(question: Question, expected: Expected | None = None) -> str:
    """Return what tells a question, or an attention check, from all others, in every store."""
    return hashlib.sha256(f"{_question_text(question)}{_expected_text(expected)}".encode()).hexdigest()


def _question_text(question: Question) -> str:
    return json.dumps(question_to_json(replace(question, order_seed=None)))


def _expected_text(expected: Expected | None) -> str | None:
    return None if expected is None else json.dumps(expected)


def question(db: sqlite3.Connection, item: int) -> Question:
    """Return a question by its number; ``ValueError`` if there is none."""
    row = db.execute("SELECT question FROM items WHERE id = ?", (item,)).fetchone()
    if row is None:
        raise ValueError(f"expected the number of a question in the store, got {item}; ask for an assignment")
    return parse_question(row[0])


def questions(db: sqlite3.Connection, *, checks: bool) -> list[tuple[int, Question]]:
    """Return the attention checks, or all other questions, with their numbers."""
    rows = db.execute("SELECT id, question FROM items WHERE (expected IS NOT NULL) = ? ORDER BY id", (checks,))
    return [(item, parse_question(text)) for item, text in rows]


def parse_question(text: str) -> Question:
    """Return the question that a text in ``items.question`` stands for."""
    return question_from_json(parse_json(text))


def left_open(db: sqlite3.Connection, annotator: str, mode: Mode | None) -> int | None:
    """Return the question that an annotator was asked last, has not answered, and that wants answers still."""
    return _one(
        db,
        "SELECT item FROM assignments JOIN items ON id = item WHERE annotator = ? AND open > 0 "
        "AND (votes < overlap OR expected IS NOT NULL) AND (?2 IS NULL OR mode = ?2) "
        "ORDER BY started DESC, item DESC LIMIT 1",
        (annotator, mode),
    )


def last_opened(db: sqlite3.Connection, annotator: str) -> float:
    """Return when an annotator was last asked something that is still open; 0 for never."""
    query = "SELECT COALESCE(MAX(started), 0) FROM assignments WHERE annotator = ? AND open > 0"
    return float(db.execute(query, (annotator,)).fetchone()[0])


def open_assignment(db: sqlite3.Connection, item: int, annotator: str, started: float, *, reserve: bool = True) -> None:
    """Ask an annotator a question, again or for the first time; reserve it for them, or only show it."""
    db.execute(
        "INSERT INTO assignments VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET open = excluded.open, started = MAX(started, excluded.started)",
        (item, annotator, started, _RESERVED if reserve else _SHOWN),
    )


def close_open(db: sqlite3.Connection, annotator: str, mode: Mode) -> None:
    """Forget what an annotator was asked of one kind and has not answered."""
    db.execute(
        "DELETE FROM assignments WHERE annotator = ? AND open > 0 AND item IN (SELECT id FROM items WHERE mode = ?)",
        (annotator, mode),
    )


def next_check(db: sqlite3.Connection, annotator: str, mode: Mode | None) -> int | None:
    """Return the first attention check that an annotator has not seen."""
    return _one(
        db,
        "SELECT id FROM items WHERE expected IS NOT NULL AND (?2 IS NULL OR mode = ?2) "
        "AND NOT EXISTS (SELECT 1 FROM assignments WHERE item = id AND annotator = ?1) ORDER BY id LIMIT 1",
        (annotator, mode),
    )


def next_item(db: sqlite3.Connection, annotator: str, mode: Mode | None, since: float) -> int | None:
    """Return the first question that an annotator was not asked, and that too few answered or were asked ``since``."""
    return _one(
        db,
        "SELECT id FROM items WHERE votes < overlap AND expected IS NULL AND (?2 IS NULL OR mode = ?2) "
        "AND NOT EXISTS (SELECT 1 FROM assignments WHERE item = id AND annotator = ?1) "
        "AND votes + (SELECT COUNT(*) FROM assignments WHERE item = id AND open = 1 AND started > ?3) < overlap "
        "ORDER BY priority DESC, id LIMIT 1",
        (annotator, mode, since),
    )


def _one(db: sqlite3.Connection, query: str, values: Sequence[object]) -> int | None:
    row = db.execute(query, values).fetchone()
    return None if row is None else int(row[0])


def has_answered(db: sqlite3.Connection, annotator: str, item: int) -> bool:
    """Return whether an annotator has a vote on a question, a skip included."""
    query = "SELECT 1 FROM votes WHERE item = ? AND annotator = ? AND undone IS NULL"
    return db.execute(query, (item, annotator)).fetchone() is not None


def loose_votes(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return name, annotator and records of the votes on no question of the store, oldest first."""
    return db.execute(
        "SELECT id, annotator, records FROM votes WHERE item IS NULL AND undone IS NULL ORDER BY number"
    ).fetchall()


def insert_vote(
    db: sqlite3.Connection, vote_id: str, item: int | None, annotator: str, received: float, records: str
) -> None:
    """Add a vote; one on a question of the store counts there, and the question is not asked again."""
    db.execute(
        "INSERT INTO votes (id, annotator, received, records) VALUES (?, ?, ?, ?)",
        (vote_id, annotator, received, records),
    )
    if item is not None:
        put_on_question(db, vote_id, item, annotator, received, records)


def put_on_question(
    db: sqlite3.Connection, vote_id: str, item: int, annotator: str, started: float, records: str
) -> None:
    """Say which question a vote answers that was on none."""
    db.execute("UPDATE votes SET item = ? WHERE id = ?", (item, vote_id))
    db.execute(
        "INSERT INTO assignments VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET open = 0", (item, annotator, started)
    )
    count(db, item, annotator, int(records != SKIP))


def count(db: sqlite3.Connection, item: int, annotator: str, change: int) -> None:
    """Change how many votes a question has; those of excluded annotators do not count."""
    if annotator in names(db, EXCLUDED):
        return
    db.execute("UPDATE items SET votes = votes + ? WHERE id = ?", (change, item))


def revise(db: sqlite3.Connection, item: int, vote_id: str, annotator: str, before: str, records: str) -> None:
    """Replace the records of a vote."""
    db.execute("UPDATE votes SET records = ? WHERE id = ?", (records, vote_id))
    count(db, item, annotator, int(records != SKIP) - int(before != SKIP))


def vote_row(db: sqlite3.Connection, vote_id: str) -> VoteRow | None:
    """Return a vote by its name, undone or not."""
    row = db.execute("SELECT item, annotator, records, undone FROM votes WHERE id = ?", (vote_id,)).fetchone()
    return None if row is None else VoteRow(*row)


def unanswered(db: sqlite3.Connection, items: Iterable[int]) -> set[int]:
    """Return those of some questions that want votes which a newcomer, or a voter on any of them, could still give."""
    among = set(items)
    open_items = db.execute("SELECT id, overlap FROM items WHERE votes < overlap AND expected IS NULL")
    wanted = {item: overlap for item, overlap in open_items if item in among}
    votes = db.execute("SELECT annotator, item FROM votes WHERE item IS NOT NULL AND undone IS NULL")
    left_out = names(db, EXCLUDED)
    voted = [(annotator, item) for annotator, item in votes if item in among and annotator not in left_out]
    voters: dict[int, set[str]] = {}
    for annotator, item in voted:
        voters.setdefault(item, set()).add(annotator)
    everybody = {annotator for annotator, _ in voted}
    return {item for item, count in wanted.items() if voters.get(item, set()) != everybody or len(everybody) < count}


# Whose answers count, and who may answer


def setting(db: sqlite3.Connection, name: str, default: Any) -> Any:
    """Return plain data kept under a name, or ``default``."""
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return default if row is None else parse_json(row[0])


def names(db: sqlite3.Connection, kind: str) -> frozenset[str]:
    """Return the annotators who are excluded, or blocked."""
    return frozenset(setting(db, kind, []))


def set_names(db: sqlite3.Connection, kind: str, annotators: Iterable[str]) -> None:
    """Say who is excluded, or blocked."""
    db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (kind, json.dumps(sorted(annotators))))


def annotators(db: sqlite3.Connection) -> set[str]:
    """Return everybody who has an account, a vote, or something that they were asked."""
    rows = db.execute("SELECT annotator FROM votes UNION SELECT annotator FROM assignments")
    return {name for (name,) in rows} | set(setting(db, ACCOUNTS, {}))


def count_all(db: sqlite3.Connection, annotator: str, change: int) -> None:
    """Change how many votes every question has that an annotator has answered."""
    db.execute(
        "UPDATE items SET votes = votes + ? WHERE id IN "
        "(SELECT item FROM votes WHERE annotator = ? AND undone IS NULL AND records != ?)",
        (change, annotator, SKIP),
    )


def close_assignments(db: sqlite3.Connection, annotator: str) -> None:
    """Forget what an annotator was asked and has not answered."""
    db.execute("DELETE FROM assignments WHERE annotator = ? AND open > 0", (annotator,))
