"""People behind a page are asked like any other annotator."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from textgym.feedback import FeedbackStore, People, SimulatedPerson
from textgym.feedback.types import Annotator, Question


def length(responses: list[str], task_keys: list[str]) -> list[float]:
    return [float(len(text)) for text in responses]


def visit(path: Path, name: str, votes: int) -> None:
    """Do what the page does for somebody."""
    someone = SimulatedPerson(length, np.random.default_rng(0), name=name)  # type: ignore[arg-type]
    with FeedbackStore(path) as store:
        while votes:
            assignment = store.assign(name)
            if assignment is not None:
                (records,) = someone.answer([assignment.question])
                votes -= store.vote(f"{name}-{votes}", name, assignment.item, records)


def test_answers_come_back_in_order_and_are_asked_for_once(tmp_path: Path) -> None:
    questions = [Question(f"k{i}", "p", ("long text", f"{i}")) for i in (2, 1, 3)]
    path = tmp_path / "x.db"
    with FeedbackStore(path) as store, ThreadPoolExecutor(2) as pool:
        store.add([Question("other", "p", ("x", "y"))], overlap=2)
        visits = [pool.submit(visit, path, name, 4) for name in ("ann", "bob")]
        people: Annotator = People(store, overlap=2, poll_seconds=0.01, timeout=60)
        answers = people.answer(questions)
        for each in visits:
            each.result()
        assert [{record.task_key for record in records} for records in answers] == [{"k2"}, {"k1"}, {"k3"}]
        assert [sorted(record.annotator for record in records) for records in answers] == [["ann", "bob"]] * 3
        assert People(store, overlap=2).answer(questions[::-1]) == answers[::-1]


def test_what_everybody_skipped_is_not_waited_for(tmp_path: Path) -> None:
    questions = [Question(f"k{i}", "p", ("long text", f"{i}")) for i in range(2)]
    with FeedbackStore(tmp_path / "x.db") as store:
        items = store.add(questions)
        assert store.skip("s", "ann", items[0] if store.assign("ann") else 0)
        assert store.missing(items) == 1  # nobody but ann is known, and she has one more to answer
        visit(tmp_path / "x.db", "ann", 1)
        assert store.missing(items) == 0
        (first, second) = People(store, timeout=5).answer(questions)
        assert (first, len(second)) == ((), 1)
        two = store.add([Question("both", "p", ("x", "y"))], overlap=2)
        assert store.assign("ann") is not None
        assert store.skip("t", "ann", two[0])
        assert store.missing(two) == 1  # it wants two people


def test_who_was_there_in_another_round_only_is_not_waited_for(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        store.add([Question("before", "p", ("long text", "y"))])
        visit(tmp_path / "x.db", "bob", 1)
        now = store.add([Question("now", "p", ("x", "y"))])
        assert store.assign("ann") is not None
        assert store.skip("s", "ann", now[0])
        assert store.missing(now) == 0


def test_waiting_ends(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "x.db") as store:
        people = People(store, poll_seconds=0.01, timeout=0.05)
        with pytest.raises(TimeoutError, match=r"within 0\.05 s, got none yet to 1 of 1 questions"):
            people.answer([Question("k", "p", ("x", "y"))])
