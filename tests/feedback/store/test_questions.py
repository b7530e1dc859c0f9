"""Questions from store to store through a file."""

import json
from pathlib import Path

import pytest

from textgym.errors import DataError
from textgym.feedback import FeedbackStore, Planned, export_questions, import_questions
from textgym.feedback.types import Question

PLAN = [
    Planned(Question("k", "p\u202e", ("x", "y\n"), generators=("one", "two")), overlap=3, priority=-1.5),
    Planned(Question("k", "half \ud800", ("c", "a", "b"), "rank")),
    Planned(Question("k", "p", ("r",), "rate", criteria=("short", "true")), overlap=2),
    Planned(Question("k", "p", ("r", "s"), "edit", ("one", "two"))),
    Planned(Question("k", "p", ("r",), "natural")),
    Planned(Question("k", "p", ("x", "y")), expected="a"),  # a check that says the same as the next question
    Planned(Question("k", "p", ("x", "y"))),
    Planned(Question("k", "p", ("x", "y"), "rank"), expected=[2, 1]),
    Planned(Question("k", "p", ("r",), "rate"), expected=[1, 2]),
]


def test_nothing_is_lost(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "a.db") as first, FeedbackStore(tmp_path / "b.db") as second:
        first.add_plan(PLAN)
        assert first.plan() == PLAN
        assert export_questions(first, tmp_path / "questions.jsonl") == len(PLAN)
        assert import_questions(second, tmp_path / "questions.jsonl") == len(PLAN)
        assert import_questions(second, tmp_path / "questions.jsonl") == 0
        assert second.plan() == PLAN
        assert second.progress().items == 6


def test_short_lines_get_the_rest(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "p", "responses": ["x", "y"]}\n')
    with FeedbackStore(tmp_path / "a.db") as store:
        assert import_questions(store, tmp_path / "own.jsonl", overlap=4) == 1
        assert store.plan() == [Planned(Question("p", "p", ("x", "y")), overlap=4)]


def test_a_larger_overlap_counts(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "p", "responses": ["x", "y"]}\n')
    with FeedbackStore(tmp_path / "a.db") as store:
        assert [import_questions(store, tmp_path / "own.jsonl", overlap) for overlap in (2, 3, 1)] == [1, 0, 0]
        assert store.plan()[0].overlap == 3


@pytest.mark.parametrize(
    "change",
    [
        {"responses": ["only one"]},
        {"responses": "xy"},
        {"responses": ["x", "x"]},
        {"responses": [1, 2]},
        {"prompt": None},
        {"prompt": ["p"]},
        {"task_key": 1},
        {"mode": "guess"},
        {"mode": []},
        {"overlap": 0},
        {"overlap": "2"},
        {"priority": "high"},
        {"priority": float("nan")},
        {"expected": "c"},
        {"expected": [1, 2]},
        {"generators": ["one"]},
        {"ranks": [1, 2]},
    ],
)
def test_a_line_that_is_no_question_is_named_and_none_is_added(tmp_path: Path, change: dict[str, object]) -> None:
    good = {"prompt": "p", "responses": ["x", "y"]}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
    with FeedbackStore(tmp_path / "a.db") as store:
        with pytest.raises(DataError, match=r"own\.jsonl:2: expected a question"):
            import_questions(store, path)
        assert store.plan() == []
