"""Decisions about people: whose answers do not count, and who may not answer; each is recorded and can be reversed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Literal, NamedTuple

from textgym.errors import TextGymError, did_you_mean
from textgym.feedback.store import tables
from textgym.feedback.store.database import Database

Action = Literal["exclude", "include", "block", "unblock", "void"]
LONGEST_REASON = 500
_DECISIONS = "decisions"


class BlockedError(TextGymError, ValueError):
    """Somebody who is blocked cannot be asked, nor answer."""


class Decision(NamedTuple):
    """A decision of an owner.

    Attributes:
        time: When, in seconds since 1970.
        owner: Name of the owner who decided.
        action: Action taken.
        name: Annotator, or link, that it is about.
        reason: Reason given; may be empty.
    """

    time: float
    owner: str
    action: Action
    name: str
    reason: str


class Moderation:
    """Annotators who are excluded or blocked, and the decisions that led there: by whom, when and why.

    Answers of an excluded annotator stay in the store, and are asked of others again: they count neither as votes that
    a question wants, nor among the records that are exported and fitted, until the annotator is included again. Who
    is blocked cannot answer, and what they had left open is asked of others at once.

    Args:
        database: The file.
        clock: Returns seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def excluded(self) -> frozenset[str]:
        """Return the annotators whose answers do not count."""
        with self._database.read() as db:
            return tables.names(db, tables.EXCLUDED)

    def blocked(self) -> frozenset[str]:
        """Return the annotators who may not answer."""
        with self._database.read() as db:
            return tables.names(db, tables.BLOCKED)

    def decisions(self) -> list[Decision]:
        """Return all decisions, the oldest first."""
        with self._database.read() as db:
            return [Decision(*row) for row in tables.setting(db, _DECISIONS, [])]

    def exclude(self, annotator: str, owner: str, reason: str = "") -> bool:
        """Leave out all answers of an annotator, those to come included; False where that is so already.

        Raises:
            ValueError: There is no such annotator, or the reason is too long.
        """
        return self._change(tables.EXCLUDED, "exclude", annotator, owner, reason)

    def include(self, annotator: str, owner: str, reason: str = "") -> bool:
        """Count the answers of an excluded annotator again; otherwise as :meth:`exclude`."""
        return self._change(tables.EXCLUDED, "include", annotator, owner, reason)

    def block(self, annotator: str, owner: str, reason: str = "") -> bool:
        """Let an annotator answer nothing more, and ask others what they left open; otherwise as :meth:`exclude`."""
        return self._change(tables.BLOCKED, "block", annotator, owner, reason)

    def unblock(self, annotator: str, owner: str, reason: str = "") -> bool:
        """Let a blocked annotator answer again; otherwise as :meth:`exclude`."""
        return self._change(tables.BLOCKED, "unblock", annotator, owner, reason)

    def record(self, action: Action, name: str, owner: str, reason: str = "") -> None:
        """Record a decision that was carried out elsewhere, such as a void invitation."""
        with self._database.write() as db:
            self._append(db, action, name, owner, reason)

    def _change(self, kind: str, action: Action, annotator: str, owner: str, reason: str) -> bool:
        adds = action in ("exclude", "block")
        with self._database.write() as db:
            known = tables.names(db, kind)
            if annotator not in known:
                _require_known(db, annotator)
            if (annotator in known) == adds:
                return False
            tables.set_names(db, kind, known | {annotator} if adds else known - {annotator})
            if kind == tables.EXCLUDED:
                tables.count_all(db, annotator, -1 if adds else 1)
            elif adds:
                tables.close_assignments(db, annotator)
            self._append(db, action, annotator, owner, reason)
        return True

    def _append(self, db: sqlite3.Connection, action: Action, name: str, owner: str, reason: str) -> None:
        if len(reason) > LONGEST_REASON:
            raise ValueError(f"expected a reason of at most {LONGEST_REASON} characters, got {len(reason)}; shorten it")
        decision = Decision(self._clock(), owner, action, name, reason.strip())
        rows = [*tables.setting(db, _DECISIONS, []), decision]
        db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (_DECISIONS, json.dumps(rows)))


def decide(moderation: Moderation, action: Action, name: str, owner: str, reason: str = "") -> bool:
    """Carry a decision about an annotator out, by its name; False where that is so already.

    Raises:
        ValueError: There is no such decision about annotators; otherwise as :meth:`Moderation.exclude`.
    """
    match action:
        case "exclude":
            return moderation.exclude(name, owner, reason)
        case "include":
            return moderation.include(name, owner, reason)
        case "block":
            return moderation.block(name, owner, reason)
        case "unblock":
            return moderation.unblock(name, owner, reason)
    raise ValueError(f"expected exclude, include, block or unblock, got {action!r}; choose one of them")


def require_unblocked(db: sqlite3.Connection, annotator: str) -> None:
    """Refuse an annotator who is blocked.

    Raises:
        BlockedError: They are.
    """
    if annotator in tables.names(db, tables.BLOCKED):
        raise BlockedError(
            f"expected an annotator who may answer, got {annotator!r}, who is blocked; ask the project's owner"
        )


def _require_known(db: sqlite3.Connection, annotator: str) -> None:
    known = tables.annotators(db)
    if annotator not in known:
        raise ValueError(
            f"expected somebody who has an account or was asked something, got {annotator!r}."
            f"{did_you_mean(annotator, sorted(known))}"
        )
