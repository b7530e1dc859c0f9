"""A project of feedback on the command line: its page, its files, its state. Loads no model."""

from __future__ import annotations

import getpass
import importlib.util
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textgym import console
from textgym.errors import DataError, MissingExtraError, did_you_mean
from textgym.feedback.records.lines import read_lines
from textgym.feedback.records.parsing import is_check, is_question, record_from_json
from textgym.feedback.statistics.agreement import (
    Level,
    agreement_interval,
    collect_answers,
    krippendorff_alpha,
    position_bias,
)
from textgym.feedback.statistics.strengths import bradley_terry_scores
from textgym.feedback.store.exports import PROJECT_FORMS, export_project
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.store.questions import import_questions
from textgym.feedback.store.votes import import_votes
from textgym.feedback.types import Comparison, Ranking, Rating

TOKEN_VARIABLE = "TEXTGYM_FEEDBACK_TOKEN"
_LEVELS: tuple[tuple[str, type[Comparison | Rating | Ranking], Level], ...] = (
    ("comparisons", Comparison, "nominal"),
    ("ratings", Rating, "ordinal"),
    ("rankings", Ranking, "ordinal"),
)
_MIN_TOKEN = 16


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of ``textgym feedback serve``.

    Attributes:
        project: The store; made if there is none.
        host, port: Where to listen.
        name: Of the owner; by default that of the user of the machine.
        title, guidelines, blind: What the pages say, kept in the project; ``None`` leaves what is kept. ``guidelines``
            is a file.
        closed: Ask for a token or an account on this machine's own address too.
        allow_hosts: Other names that browsers may call the server by.
        https: A proxy with HTTPS stands in front, called by the first of these names.
    """

    project: str
    host: str = "127.0.0.1"
    port: int = 8765
    name: str | None = None
    title: str | None = None
    guidelines: str | None = None
    blind: bool | None = None
    closed: bool = False
    allow_hosts: tuple[str, ...] = ()
    https: bool = False


def run_serve(settings: ServeSettings) -> None:
    """Serve a project until it is interrupted.

    Raises:
        MissingExtraError: What the page needs is not installed.
        ValueError: The token in the environment is too short, or the proxy has no name.
    """
    require_page()
    from textgym.feedback.server.serve import Address, serve

    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and len(token) < _MIN_TOKEN:
        raise ValueError(f"expected {TOKEN_VARIABLE} of {_MIN_TOKEN} characters or more, got {len(token)}; lengthen it")
    address = Address(settings.host, settings.port, settings.closed, token, settings.allow_hosts, settings.https)
    changes: dict[str, Any] = {} if settings.title is None else {"title": settings.title}
    if settings.guidelines is not None:
        changes["guidelines"] = _text_of(settings.guidelines)
    changes |= {} if settings.blind is None else {"reveal": not settings.blind}
    with FeedbackStore(settings.project) as store:
        store.update_setting("project", lambda known: {**(known or {}), **changes})
        if not store.progress().items:
            console.remark(
                f"There are no questions in {settings.project} yet: see textgym feedback sample, and import."
            )
        if settings.https:
            console.remark(f"The proxy passes {address.names[0]} on to {settings.host}, port {settings.port}.")
        serve(store, address, settings.name or user_name(), _Announcement(settings.project))
        console.say(f"Stopped. All answers are in {settings.project}.")


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text, got other bytes in {path!r} ({error}); save it as UTF-8") from None


@dataclass(frozen=True, slots=True)
class _Announcement:
    """Tells where the page is."""

    project: str

    def __call__(self, link: str) -> None:
        console.say(f"Asking the questions of {self.project} at {link}   (Ctrl-C stops)")
        if "token=" in link:
            console.remark("This link makes its bearer the owner. Others get invitations: page 'People'.")


def run_export(project: str, file: str, form: str) -> None:
    """Write the answers of a project, or its questions, to a file.

    Raises:
        FileNotFoundError: There is no such project.
        ValueError: There is no such form.
    """
    if form not in PROJECT_FORMS:
        known = ", ".join(PROJECT_FORMS)
        raise ValueError(f"expected a form out of {known}, got {form!r}.{did_you_mean(form, PROJECT_FORMS)}")
    with existing(project) as store:
        count = export_project(store, file, form)
    console.say(f"{count:,} {'questions' if form == 'questions' else 'records'} -> {file} ({form})")


def run_import(project: str, file: str, overlap: int) -> None:
    """Read answers or questions into a project; what is there already is not added again.

    Raises:
        DataError: Naming the line that is neither.
    """
    place, first = next(read_lines(file), ("", None))
    if not place:
        raise DataError(f"expected records or questions, got none in {file!r}, which is empty; check what wrote it")
    if not is_question(first):
        record_from_json(first, place)  # a file of something else makes no new project
    with FeedbackStore(project) as store:
        if is_question(first):
            before = asked_so_far(store)
            import_questions(store, file, overlap)
            console.say(f"{asked_since(before, store)} <- {file}")
        else:
            console.say(f"{import_votes(store, file):,} new votes <- {file}")
            if not _has_checks(store) and any(is_check(row) for _, row in read_lines(file)):
                console.remark("Answers to attention checks were left out: import the questions, then this file again.")


def _has_checks(store: FeedbackStore) -> bool:
    return any(planned.expected is not None for planned in store.plan())


def run_status(project: str) -> None:
    """Print how far a project is."""
    with existing(project) as store:
        progress, records, attention = store.progress(), store.records(), store.attention()
        votes = [vote for vote in store.votes() if not vote.skipped]
    console.say(
        f"{progress.votes:,} of {progress.wanted:,} votes; "
        f"{progress.complete:,} of {progress.items:,} questions complete"
    )
    rows = []
    for name, own in itertools.groupby(sorted(votes, key=lambda vote: vote.annotator), key=lambda vote: vote.annotator):
        right, asked = attention.get(name, (0, 0))
        last = list(own)
        rows.append([name, f"{len(last):,}", f"{right} of {asked}" if asked else "-", _day(last[-1].received)])
    if rows:
        console.print_rows(["annotator", "votes", "checks passed", "last vote"], rows)
    for name, kind, level in _LEVELS:
        values = collect_answers(records, kind, level).values
        alpha, agreement = krippendorff_alpha(values, level), agreement_interval(records, kind)
        if alpha is not None and agreement is not None:
            console.say(
                f"{name}: Krippendorff's alpha {alpha:.3f} ({level}), same answer {console.with_bounds(agreement)}"
            )
    if any(isinstance(record, Comparison) for record in records):
        console.say(f"the text shown first wins {console.with_bounds(position_bias(records))}")
    strengths = bradley_terry_scores(records, np.random.default_rng(0))
    if len(strengths) > 1:
        console.print_rows(
            ["generator", "Bradley-Terry strength"],
            [[name, console.with_bounds(strength)] for name, strength in strengths.items()],
        )


class Asked(NamedTuple):
    """How many questions a project has, attention checks included, and how many votes it wants on the others."""

    questions: int
    wanted: int


def asked_so_far(store: FeedbackStore) -> Asked:
    """Return what a project asks now."""
    return Asked(len(store.questions()), store.progress().wanted)


def asked_since(before: Asked, store: FeedbackStore) -> str:
    """Say what a project asks that it did not ask before: a larger overlap makes no new questions."""
    now = asked_so_far(store)
    more = now.wanted - before.wanted
    return (
        f"{now.questions - before.questions:,} new questions, {more:,} more {'vote' if more == 1 else 'votes'} wanted"
    )


def existing(project: str) -> FeedbackStore:
    """Open a project that must be there.

    Raises:
        FileNotFoundError: It is not.
    """
    if not Path(project).is_file():
        raise FileNotFoundError(
            f"expected a project, got {project!r}, which does not exist; check the path, or make it with textgym "
            "feedback sample"
        )
    return FeedbackStore(project)


def require_page() -> None:
    """Raise :class:`~textgym.errors.MissingExtraError` unless what the page needs is installed."""
    needed = ("fastapi", "uvicorn", "jinja2", "python_multipart")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError.of("the feedback page", ", ".join(missing), "feedback")


def user_name() -> str:
    """Return the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user, as in some containers
        return "me"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
