"""Questions as JSON lines: what to ask, how many people, and which answer an attention check expects."""

from __future__ import annotations

import math
from pathlib import Path

from textgym import values
from textgym.errors import DataError
from textgym.feedback.records.answers import check_expected, check_question
from textgym.feedback.records.lines import read_lines, write_lines
from textgym.feedback.records.parsing import is_question, question_to_json, shown_from_json
from textgym.feedback.store.entries import Planned
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Question
from textgym.types import JsonObject, shown_text

_LONGEST_KEY = 80  # of one made from a prompt


def export_questions(store: FeedbackStore, path: str | Path) -> int:
    """Write all questions of a store, for :func:`import_questions`; returns how many.

    A line is ``{"task_key": ..., "prompt": ..., "responses": [...], "mode": ..., "generators": [...], "criteria":
    [...], "overlap": 2, "priority": 0.0}``; the line of an attention check has ``"expected"`` as well.
    """
    plan = store.plan()
    write_lines(path, map(_to_json, plan))
    return len(plan)


def import_questions(store: FeedbackStore, path: str | Path, overlap: int = 1) -> int:
    """Add the questions of a file to a store; of those that are there already, the larger overlap counts.

    Args:
        store: The store.
        path: JSON lines with ``prompt`` and ``responses``, and any other field that :func:`export_questions` writes.
        overlap: How many people to ask, where a line does not say it.

    Returns:
        Number of new questions.

    Raises:
        DataError: Naming the line that is no question; then none was added.
        FileNotFoundError: If there is no file.
    """
    plan = [_from_json(row, place, overlap) for place, row in read_lines(path)]
    before = len(store.questions())
    store.add_plan(plan)
    return len(store.questions()) - before


def _to_json(planned: Planned) -> dict[str, object]:
    row: dict[str, object] = question_to_json(planned.question)
    del row["order_seed"]  # every annotator gets an order of their own
    row |= {"overlap": planned.overlap, "priority": planned.priority}
    return row if planned.expected is None else {**row, "expected": planned.expected}


def _from_json(row: JsonObject, place: str, overlap: int) -> Planned:
    try:
        if not is_question(row):
            raise ValueError("no responses")
        texts, generators, criteria = (_texts(row, name) for name in ("responses", "generators", "criteria"))
        prompt = shown_from_json(row["prompt"])
        key = values.expect_text(row.get("task_key", shown_text(prompt)[:_LONGEST_KEY]))
        question = Question(key, prompt, texts, row.get("mode", "compare"), generators, criteria=criteria)
        people = values.expect_integer(row.get("overlap", overlap))
        planned = Planned(question, people, float(row.get("priority", 0)), row.get("expected"))
        if planned.overlap < 1 or not math.isfinite(planned.priority):
            raise ValueError("overlap is 1 or more, priority is finite")
        check_question(question)
        if planned.expected is not None:
            check_expected(question, planned.expected)
        return planned
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place}: expected a question with prompt and responses, got {row!r:.80} ({error})") from None


def _texts(row: JsonObject, name: str) -> tuple[str, ...]:
    try:
        return tuple(map(values.expect_text, values.expect_list(row.get(name, []))))
    except TypeError:
        raise TypeError(f"{name} is a list of texts") from None
