"""Operations on a whole feedback project: open it, import a file, report its status."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textgym.checks import check_numbers
from textgym.errors import DataError
from textgym.feedback.records.files import load_records
from textgym.feedback.records.lines import read_rows
from textgym.feedback.records.oddities import oddities
from textgym.feedback.records.parsing import is_check, is_question
from textgym.feedback.statistics.agreement import (
    Level,
    agreement_interval,
    collect_answers,
    krippendorff_alpha,
    position_bias,
)
from textgym.feedback.statistics.concerns import annotation_concerns
from textgym.feedback.statistics.strengths import bradley_terry_scores
from textgym.feedback.store.entries import Vote
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.store.questions import import_questions
from textgym.feedback.store.votes import add_file_records
from textgym.feedback.types import Comparison, Ranking, Rating, Record, of_kind
from textgym.types import Interval

_LEVELS: tuple[tuple[str, type[Comparison | Rating | Ranking], Level], ...] = (
    ("comparisons", Comparison, "nominal"),
    ("ratings", Rating, "ordinal"),
    ("rankings", Ranking, "ordinal"),
)


class QuestionCount(NamedTuple):
    """The numbers of a project's questions, attention checks included, and of the votes wanted on the others."""

    questions: int
    wanted: int

    def more(self, store: FeedbackStore) -> str:
        """Say what a project asks beyond this: a larger overlap makes no new questions."""
        now = count_questions(store)
        votes = now.wanted - self.wanted
        return (
            f"{now.questions - self.questions:,} new questions, {votes:,} more {'vote' if votes == 1 else 'votes'} "
            "wanted"
        )


class Import(NamedTuple):
    """The result of importing a file into a project.

    Attributes:
        added: Description of the records added.
        read: Remarks about the shapes of the file, and about what was not read.
        lacks_checks: Whether answers to attention checks were left out, whose questions the project does not have.
    """

    added: str
    read: Sequence[str]
    lacks_checks: bool


class Contribution(NamedTuple):
    """The contribution of one annotator.

    Attributes:
        annotator: The name.
        votes: Answers, without those skipped.
        passed, checked: Attention checks answered rightly, and all that were answered.
        last: When the last answer was given, in seconds since 1970.
        is_excluded: Whether these answers are left out of everything else.
    """

    annotator: str
    votes: int
    passed: int
    checked: int
    last: float
    is_excluded: bool = False


class Agreement(NamedTuple):
    """Agreement on one kind of records: Krippendorff's alpha, and the share of equal answers."""

    kind: str
    level: Level
    alpha: float
    same: Interval


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a project.

    Attributes:
        votes, wanted: Answers given, and wanted in all.
        complete, questions: Questions with all their answers, and all.
        contributions: One per annotator.
        agreements: One per kind of records, where two people answered the same question.
        position_bias: How often the text shown first wins; ``None`` without comparisons.
        rank_position_bias: How often the text shown first is ranked before another one; ``None`` without rankings.
        strengths: Strengths of the generators, by name.
        concerns: Reasons against taking the answers at their face value, in sentences.
        left_out: How many answers of excluded annotators are left out, in words; may be empty.
    """

    votes: int
    wanted: int
    complete: int
    questions: int
    contributions: list[Contribution]
    agreements: list[Agreement]
    position_bias: Interval | None
    rank_position_bias: Interval | None
    strengths: Mapping[str, Interval]
    concerns: list[str]
    left_out: str = ""


def open_project(project: str) -> FeedbackStore:
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


def describe_left_out(store: FeedbackStore) -> str:
    """Say how many answers of excluded annotators are left out; an empty text if none are."""
    counts = store.left_out()
    if not counts:
        return ""
    answers, people = sum(counts.values()), len(counts)
    return (
        f"Left out: {answers:,} {'answer' if answers == 1 else 'answers'} of {people:,} excluded "
        f"{'annotator' if people == 1 else 'annotators'}."
    )


def page_settings(
    *,
    title: str | None = None,
    guidelines: str | None = None,
    blind: bool | None = None,
    word_counts: bool | None = None,
) -> dict[str, str | bool]:
    """Return what a project keeps of what its pages say; what is ``None`` is left as it is kept.

    Args:
        title: Shown on every page.
        guidelines: File that says how to answer.
        blind: Never tell who wrote a text.
        word_counts: Show how many words a text has.

    Raises:
        DataError: The guidelines are no text.
    """
    changes: dict[str, str | bool] = {} if title is None else {"title": title}
    if guidelines is not None:
        changes["guidelines"] = _text_of(guidelines)
    options = {"reveal": None if blind is None else not blind, "word_counts": word_counts}
    return changes | {name: value for name, value in options.items() if value is not None}


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text, got other bytes in {path!r} ({error}); save it as UTF-8") from None


def count_questions(store: FeedbackStore) -> QuestionCount:
    """Return what a project asks now."""
    return QuestionCount(len(store.questions()), store.progress().wanted)


def import_file(project: str, file: str, overlap: int = 1) -> Import:
    """Read answers or questions into a project; what is there already is not added again.

    Args:
        project: Made if there is none.
        file: Questions as JSON lines, or answers of any shape (:func:`~textgym.feedback.records.files.load_records`).
        overlap: People per question.

    Raises:
        DataError: Naming the line that is neither.
        ValueError: The overlap is less than 1.
    """
    check_numbers(counts={"overlap": overlap}, not_negative={})
    place, first = next(read_rows(file), ("", {}))
    if not place:
        raise DataError(f"expected records or questions, got none in {file!r}, which is empty; check what wrote it")
    if is_question(first):
        with FeedbackStore(project) as store:
            before = count_questions(store)
            import_questions(store, file, overlap)
            return Import(before.more(store), (), lacks_checks=False)
    loaded = load_records(file)  # a file of something else makes no new project
    with FeedbackStore(project) as store:
        votes = add_file_records(store, loaded)
        knows_checks = any(planned.expected is not None for planned in store.plan())
        lacks_checks = not knows_checks and any(is_check(each.row) for each in loaded.rows)
        return Import(f"{votes:,} new votes", loaded.lines, lacks_checks)


def project_status(store: FeedbackStore) -> Status:
    """Return how far a project is, and how far its annotators agree."""
    progress, records = store.progress(), store.records()
    agreements = []
    for name, kind, level in _LEVELS:
        values = collect_answers(records, kind, level).values
        alpha, same = krippendorff_alpha(values, level), agreement_interval(records, kind)
        if alpha is not None and same is not None:
            agreements.append(Agreement(name, level, alpha, same))
    return Status(
        votes=progress.votes,
        wanted=progress.wanted,
        complete=progress.complete,
        questions=progress.items,
        contributions=_contributions(store),
        agreements=agreements,
        position_bias=position_bias(records) if of_kind(records, Comparison) else None,
        rank_position_bias=position_bias(records, Ranking) if of_kind(records, Ranking) else None,
        strengths=bradley_terry_scores(records, np.random.default_rng(0)),
        concerns=project_concerns(store, records),
        left_out=describe_left_out(store),
    )


def project_concerns(store: FeedbackStore, records: Sequence[Record]) -> list[str]:
    """Return the reasons against taking the records of a project at their face value, in sentences."""
    return [*annotation_concerns(records, store.attention()), *oddities(records)]


def _given(vote: Vote) -> float:
    """Return when an answer was given, which an import does not change; where that is unknown, when it came."""
    times = [record.time for record in vote.records if record.time is not None]
    return max(times, default=vote.received)


def _contributions(store: FeedbackStore) -> list[Contribution]:
    attention, found = store.attention(), []
    votes = sorted((vote for vote in store.votes(excluded=True) if not vote.skipped), key=lambda vote: vote.annotator)
    excluded = store.moderation.excluded()
    for name, group in itertools.groupby(votes, key=lambda vote: vote.annotator):
        own, (passed, checked) = list(group), attention.get(name, (0, 0))
        last = max(_given(vote) for vote in own)
        found.append(Contribution(name, len(own), passed, checked, last, name in excluded))
    return found
