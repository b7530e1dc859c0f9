"""An annotator who is excluded: fits, rounds and resumed runs follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from textgym.envs.choice import EnvChoice
from textgym.feedback import By, FeedbackStore, answer_compare
from textgym.feedback.records.parsing import question_to_json
from textgym.feedback.sources import read_feedback
from textgym.feedback.types import Question
from textgym.rlhf.rounds import Loop, RlhfSettings, Round, collect_answers
from textgym.training.reward_feedback import warn_of_excluded
from textgym.training.run_folder import RunFolder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    """Three questions, answered by ann and by a spammer."""
    with FeedbackStore(tmp_path / "feedback.db") as store:
        store.add([Question(f"k{n}", f"prompt {n}", ("one", "two")) for n in range(3)], overlap=2)
        for name in ("ann", "spammer"):
            answer_all(store, name)
        yield store


def answer_all(store: FeedbackStore, name: str) -> int:
    given = 0
    while (asked := store.assign(name)) is not None:
        store.vote(f"{name}-{asked.item}", name, asked.item, answer_compare(asked.question, "a", By(name)))
        given += 1
    return given


def test_a_fit_reads_no_excluded_answers_and_says_so(store: FeedbackStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(read_feedback(store.path)) == 6
    assert "Left out" not in capsys.readouterr().err
    store.moderation.exclude("spammer", "owner")
    assert {record.annotator for record in read_feedback(store.path)} == {"ann"}
    captured = capsys.readouterr()
    assert "Left out: 3 answers of 1 excluded annotator." in captured.out + captured.err


def test_a_fit_that_is_resumed_says_that_it_began_with_answers_excluded_since(
    store: FeedbackStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = read_feedback(store.path)
    warn_of_excluded(store.path, kept)
    assert capsys.readouterr().err == ""
    store.moderation.exclude("spammer", "owner")
    warn_of_excluded(store.path, kept)
    assert "began with 3 answers of annotators who were excluded" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "file.jsonl").write_text("{}\n")
    warn_of_excluded(tmp_path / "file.jsonl", kept)
    assert capsys.readouterr().err == ""


def round_of(store: FeedbackStore, *, people: bool, **summary: object) -> Round:
    """Return a round whose questions are those of the store, and that has come as far as its summary says."""
    settings = RlhfSettings(EnvChoice(), people=people, overlap=2, out="run")
    run = RunFolder.create(store.path.with_name("run"), "rlhf", {})
    first = Round(Loop(run, settings, None, store), 1)  # type: ignore[arg-type]  # what was asked before needs no task
    first.folder.path.mkdir()
    first.folder.write_rows("questions.jsonl", map(question_to_json, store.questions().values()))
    first.folder.write_summary(summary)
    return first


class Asked:
    """Notes who is asked what, and answers as bob."""

    def __init__(self, store: FeedbackStore) -> None:
        self.questions: list[Question] = []
        self._store = store

    def answer(self, questions: list[Question]) -> None:
        self.questions = questions
        answer_all(self._store, "bob")


@pytest.mark.parametrize(
    ("people", "summary", "asks"),
    [
        (True, {"labels": 6}, True),
        (True, {"labels": 6, "accuracy": {"mean": 0.7}}, False),  # the reward is fitted: what it learnt stays
        (False, {"labels": 6}, False),  # simulated people answer a question once
    ],
)
def test_a_resumed_round_asks_others_for_what_was_excluded(
    store: FeedbackStore, people: bool, summary: dict[str, Any], asks: bool
) -> None:
    current, asked = round_of(store, people=people, **summary), Asked(store)
    collect_answers(current, lambda _: asked)  # type: ignore[arg-type, return-value]
    assert asked.questions == []  # all are answered
    store.moderation.exclude("spammer", "owner", "one key only")
    collect_answers(current, lambda _: asked)  # type: ignore[arg-type, return-value]
    assert bool(asked.questions) == asks
    assert {record.annotator for record in store.records()} == ({"ann", "bob"} if asks else {"ann"})
    assert current.folder.summary()["labels"] == 6


def test_a_round_without_any_answer_left_names_the_way_back(store: FeedbackStore) -> None:
    current = round_of(store, people=False, labels=6)
    for name in ("ann", "spammer"):
        store.moderation.exclude(name, "owner")
    with pytest.raises(ValueError, match="include annotators again who were excluded"):
        collect_answers(current, lambda _: Asked(store))  # type: ignore[arg-type, return-value]
    store.moderation.include("ann", "owner")
    collect_answers(current, lambda _: Asked(store))  # type: ignore[arg-type, return-value]
