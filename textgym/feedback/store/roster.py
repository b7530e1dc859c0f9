"""Everybody of a project at a glance: account, answers, attention checks, and whether they count."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

from textgym.feedback.store import tables
from textgym.feedback.store.project import FeedbackStore


class RosterRow(NamedTuple):
    """One annotator.

    Attributes:
        name: Name of the annotator.
        has_account: Whether there is an account of that name.
        answers: Answers, those skipped or undone not counted.
        checks: Attention checks passed, and answered.
        is_excluded: Whether the answers are left out.
        is_blocked: Whether nothing more can be answered.
    """

    name: str
    has_account: bool
    answers: int
    checks: tuple[int, int]
    is_excluded: bool
    is_blocked: bool

    @property
    def passed(self) -> str:
        """Attention checks in words."""
        passed, checked = self.checks
        return f"{passed} of {checked}" if checked else "-"

    @property
    def state(self) -> str:
        """State in words: counted, or excluded, blocked or both."""
        states = [name for name, holds in (("excluded", self.is_excluded), ("blocked", self.is_blocked)) if holds]
        return ", ".join(states) or "counted"


def roster(store: FeedbackStore) -> list[RosterRow]:
    """Return everybody who has an account or has answered, by name."""
    answers = Counter(vote.annotator for vote in store.votes(excluded=True) if not vote.skipped)
    accounts = set(store.setting(tables.ACCOUNTS, {}))
    checks, excluded, blocked = store.attention(), store.moderation.excluded(), store.moderation.blocked()
    return [
        RosterRow(name, name in accounts, answers[name], checks.get(name, (0, 0)), name in excluded, name in blocked)
        for name in sorted({*answers, *accounts, *excluded, *blocked})
    ]


def shown_time(seconds: float) -> str:
    """Return a time as day and minute; a dash for what no clock shows, whatever a project holds."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"
