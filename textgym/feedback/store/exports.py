"""All forms in which a project leaves its store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from textgym.feedback.records.export import Form, export_records
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.store.questions import export_questions
from textgym.feedback.store.votes import export_votes

ProjectForm = Literal["votes", "questions"] | Form
ROWS: Mapping[str, str] = {"questions": "questions", "preferences": "pairs", "labels": "labelled responses"}
"""Form -> what its rows are; records in all others."""
PROJECT_FORMS: tuple[ProjectForm, ...] = ("votes", "questions", *get_args(Form))


def export_project(store: FeedbackStore, path: str | Path, form: ProjectForm, *, excluded: bool = False) -> int:
    """Write what a store holds, the oldest first.

    Args:
        store: The store.
        path: The file; replaced only after the new one is complete.
        form: ``"votes"``: as :func:`~textgym.feedback.store.votes.export_votes`; ``"questions"``: as
            :func:`~textgym.feedback.store.questions.export_questions`; others: as
            :func:`~textgym.feedback.records.export.export_records`, without attention checks.
        excluded: Write the answers of excluded annotators too.

    Returns:
        Number of rows written: of questions, records, pairs or labelled responses.
    """
    if form == "votes":
        return export_votes(store, path, excluded=excluded)
    if form == "questions":
        return export_questions(store, path)
    return export_records(store.records(excluded=excluded), path, form)
