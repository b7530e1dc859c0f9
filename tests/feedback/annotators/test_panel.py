"""A panel of simulated people answers through a store, as people do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textgym.feedback import FeedbackStore, Panel, export_votes, import_votes, simulated_people
from textgym.feedback.types import Annotator, Question, Record

QUESTIONS = [Question(f"k{i}", f"p{i}", ("a long text", f"{i}"), order_seed=i) for i in range(7)]


def length(responses: Sequence[str], task_keys: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in responses]


def answer(store: FeedbackStore, *, people: int = 3, overlap: int = 1) -> list[tuple[Record, ...]]:
    crowd = simulated_people(length, people, np.random.default_rng(0))
    panel: Annotator = Panel(store, crowd, overlap=overlap)
    return list(panel.answer(QUESTIONS))


def test_questions_are_dealt_out_in_turn(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        found = answer(store)
        assert [[record.annotator for record in records] for records in found] == [
            [f"simulated-{1 + row % 3}"] for row in range(7)
        ]
        assert [records[0].task_key for records in found] == [question.task_key for question in QUESTIONS]
        assert [records[0].order_seed for records in found] == list(range(7))
        assert store.records() == [record for records in found for record in records]
        assert store.progress().complete == 7


def test_overlap(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        found = answer(store, overlap=2)
        assert [len({record.annotator for record in records}) for records in found] == [2] * 7
        assert store.progress().complete == 7
        with pytest.raises(ValueError, match="between 1 and 2, the number of people, got 3"):
            answer(store, people=2, overlap=3)


def test_votes_of_two_stores_are_put_together(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "all.db") as together:
        for name in ("one", "two"):
            with FeedbackStore(tmp_path / f"{name}.db") as store:
                answer(store)
                export_votes(store, tmp_path / "votes.jsonl")
            assert import_votes(together, tmp_path / "votes.jsonl") == 7
        assert len(together.records()) == 14


def test_a_copied_project_goes_on_beside_the_first(tmp_path: Path) -> None:
    FeedbackStore(tmp_path / "one.db").close()
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    crowd = simulated_people(length, 1, np.random.default_rng(0))
    with FeedbackStore(tmp_path / "one.db") as one, FeedbackStore(tmp_path / "two.db") as two:
        Panel(one, crowd).answer(QUESTIONS[:4])
        export_votes(one, tmp_path / "votes.jsonl")
        assert import_votes(two, tmp_path / "votes.jsonl") == 4
        assert len(Panel(two, crowd).answer(QUESTIONS[4:])) == 3
        assert len(two.records()) == 7


def test_what_was_interrupted_goes_on_without_a_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeedbackStore(tmp_path / "whole.db") as store:
        whole = answer(store)
    vote = FeedbackStore.vote
    votes = iter(range(4))

    def hasty(self: FeedbackStore, *about: object) -> bool:
        if next(votes, None) is None:
            raise KeyboardInterrupt
        return vote(self, *about)  # type: ignore[arg-type]

    with FeedbackStore(tmp_path / "x.db") as store:
        with monkeypatch.context() as patch:
            patch.setattr(FeedbackStore, "vote", hasty)
            with pytest.raises(KeyboardInterrupt):
                answer(store)
        assert len(store.records()) == 4
        assert answer(store) == whole
        assert store.records() == [record for records in whole for record in records]
