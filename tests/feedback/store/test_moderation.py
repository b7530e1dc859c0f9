"""Excluding and blocking annotators: what counts, what is asked of others, what is recorded, and how it is reversed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from textgym.feedback import By, FeedbackStore, People, answer_compare, import_votes, read_records
from textgym.feedback.projects import describe_left_out, project_status
from textgym.feedback.store.exports import PROJECT_FORMS, export_project
from textgym.feedback.store.moderation import LONGEST_REASON, BlockedError, decide
from textgym.feedback.store.roster import roster, shown_time
from textgym.feedback.types import Choice, Question


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    clock = iter(float(number) for number in range(1000, 10**6))
    with FeedbackStore(tmp_path / "project.db", clock=lambda: next(clock)) as store:
        yield store


def question(number: int) -> Question:
    return Question(f"k{number}", f"prompt {number}", ("one", "two"), "compare", ("m1", "m2"))


def vote(store: FeedbackStore, annotator: str, choice: Choice = "a", count: int = 99) -> int:
    """Answer what there is to answer, up to so many questions; return how many."""
    for given in range(count):
        asked = store.assign(annotator)
        if asked is None:
            return given
        records = answer_compare(asked.question, choice, By(annotator))
        store.vote(f"{annotator}-{asked.item}", annotator, asked.item, records)
    return count


def test_excluded_answers_do_not_count_and_are_asked_of_others(store: FeedbackStore) -> None:
    items = store.add([question(number) for number in range(3)])
    assert vote(store, "spammer") == 3
    assert vote(store, "ann") == 0
    assert store.missing(items) == 0
    assert store.moderation.exclude("spammer", "owner", "five seconds for ten pages")
    assert store.progress().votes == 0
    assert store.missing(items) == 3
    assert (store.votes(), store.records(), store.vote_times()) == ([], [], [])
    assert len(store.votes(excluded=True)) == len(store.records(excluded=True)) == 3
    assert store.left_out() == {"spammer": 3}
    assert vote(store, "ann", "b") == 3
    assert {record.choice for record in store.records()} == {"b"}
    assert store.progress().votes == 3
    assert vote(store, "spammer") == 0  # nothing is asked twice of the same person


def test_including_brings_everything_back(store: FeedbackStore) -> None:
    items = store.add([question(number) for number in range(3)], overlap=2)
    vote(store, "ann")
    vote(store, "bob", "b", 2)
    before = store.votes(), store.progress(), store.missing(items), store.vote_times()
    store.moderation.exclude("bob", "owner")
    assert (store.votes(), store.progress()) != before[:2]
    store.moderation.include("bob", "owner")
    assert (store.votes(), store.progress(), store.missing(items), store.vote_times()) == before


def test_what_somebody_does_while_excluded_counts_only_once_they_are_included(store: FeedbackStore) -> None:
    store.add([question(number) for number in range(4)], overlap=3)
    vote(store, "ann", count=1)
    store.moderation.exclude("ann", "owner")
    vote(store, "ann", count=2)
    last = store.last_vote("ann")
    assert last is not None
    store.undo("ann", last.id)
    store.skip("skipped", "ann", store.assign("ann").item)  # type: ignore[union-attr]
    assert store.progress().votes == 0
    store.moderation.include("ann", "owner")
    assert store.progress().votes == len(store.records()) == 2
    store.undo("ann", "skipped")
    store.undo("ann", store.last_vote("ann").id)  # type: ignore[union-attr]
    assert store.progress().votes == len(store.records()) == 1


def test_who_decided_when_and_why_is_kept(store: FeedbackStore) -> None:
    store.add([question(0)])
    vote(store, "ann")
    moderation = store.moderation
    assert moderation.exclude("ann", "owner", " too fast ")
    assert not moderation.exclude("ann", "owner")
    assert moderation.block("ann", "owner")
    assert moderation.include("ann", "other owner", "was a test")
    assert moderation.unblock("ann", "owner")
    decisions = moderation.decisions()
    assert [(each.action, each.name, each.owner, each.reason) for each in decisions] == [
        ("exclude", "ann", "owner", "too fast"),
        ("block", "ann", "owner", ""),
        ("include", "ann", "other owner", "was a test"),
        ("unblock", "ann", "owner", ""),
    ]
    assert [each.time for each in decisions] == sorted(each.time for each in decisions)
    with FeedbackStore(store.path) as again:
        assert again.moderation.decisions() == decisions


def test_who_is_not_there_cannot_be_excluded(store: FeedbackStore) -> None:
    store.add([question(0)])
    vote(store, "spammer")
    for action in ("exclude", "include", "block", "unblock"):
        with pytest.raises(ValueError, match=r"got 'spamer'\. Did you mean 'spammer'\?"):
            decide(store.moderation, action, "spamer", "owner")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shorten it"):
        store.moderation.exclude("spammer", "owner", "x" * (LONGEST_REASON + 1))
    assert store.moderation.excluded() == frozenset()
    assert store.progress().votes == 1
    with pytest.raises(ValueError, match="exclude, include, block or unblock"):
        decide(store.moderation, "void", "spammer", "owner")


def test_who_is_blocked_cannot_answer_and_what_they_left_open_goes_to_others(store: FeedbackStore) -> None:
    store.add([question(0)])
    asked = store.assign("ann")
    assert asked is not None
    assert store.assign("bob") is None  # ann is answering it
    store.moderation.block("ann", "owner")
    given = store.assign("bob")
    assert given is not None
    assert given.item == asked.item
    with pytest.raises(BlockedError, match="who is blocked"):
        store.assign("ann")
    with pytest.raises(BlockedError):
        store.vote("v", "ann", asked.item, answer_compare(asked.question, "a", By("ann")))
    store.moderation.unblock("ann", "owner")
    store.skip("s", "bob", given.item)
    assert store.assign("ann") is not None


def test_answers_of_who_is_blocked_still_count(store: FeedbackStore) -> None:
    store.add([question(0)])
    vote(store, "ann")
    store.moderation.block("ann", "owner")
    assert len(store.records()) == store.progress().votes == 1


@pytest.mark.parametrize("form", [form for form in PROJECT_FORMS if form != "questions"])
def test_exports_leave_excluded_answers_out_unless_they_are_asked_for(
    store: FeedbackStore, tmp_path: Path, form: str
) -> None:
    store.add([question(number) for number in range(4)], overlap=2)
    vote(store, "ann")
    everything = export_project(store, tmp_path / "one", form)  # type: ignore[arg-type]
    before = (tmp_path / "one").read_bytes()
    vote(store, "spammer", "b")
    store.moderation.exclude("spammer", "owner")
    assert export_project(store, tmp_path / "two", form) == everything  # type: ignore[arg-type]
    assert (tmp_path / "two").read_bytes() == before
    assert export_project(store, tmp_path / "all", form, excluded=True) == 2 * everything  # type: ignore[arg-type]
    assert describe_left_out(store) == "Left out: 4 answers of 1 excluded annotator."


def test_importing_excluded_answers_again_adds_nothing(store: FeedbackStore, tmp_path: Path) -> None:
    store.add([question(number) for number in range(2)])
    vote(store, "ann")
    export_project(store, tmp_path / "votes.jsonl", "votes")
    store.moderation.exclude("ann", "owner")
    assert import_votes(store, tmp_path / "votes.jsonl") == 0
    assert store.progress().votes == 0
    assert len(read_records(tmp_path / "votes.jsonl")) == 2


def test_votes_imported_of_who_is_excluded_do_not_count(store: FeedbackStore, tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "other.db") as other:
        other.add([question(number) for number in range(2)])
        vote(other, "ann")
        export_project(other, tmp_path / "votes.jsonl", "votes")
    store.add([question(number) for number in range(3)], overlap=2)
    vote(store, "ann", count=1)
    store.moderation.exclude("ann", "owner")
    import_votes(store, tmp_path / "votes.jsonl")
    assert store.progress().votes == 0
    store.moderation.include("ann", "owner")
    assert store.progress().votes == len(store.records()) >= 2


def test_people_are_asked_for_what_was_excluded(store: FeedbackStore) -> None:
    questions = [question(number) for number in range(2)]
    store.add(questions)
    vote(store, "spammer")
    people = People(store, poll_seconds=0.0, timeout=0.0)
    assert [len(records) for records in people.answer(questions)] == [1, 1]
    store.moderation.exclude("spammer", "owner")
    with pytest.raises(TimeoutError, match="2 of 2 questions"):
        people.answer(questions)
    vote(store, "ann")
    assert [record.annotator for records in people.answer(questions) for record in records] == ["ann", "ann"]


def test_the_figures_of_a_spammer_are_gone(store: FeedbackStore) -> None:
    """Two people agree, one presses keys: alpha is 1 without the third."""
    store.add([question(number) for number in range(8)], overlap=3)
    for name in ("ann", "bob", "spammer"):
        while (asked := store.assign(name)) is not None:
            choice: Choice = "a" if asked.item % 2 or name == "spammer" else "b"
            records = answer_compare(asked.question, choice, By(name))
            store.vote(f"{name}-{asked.item}", name, asked.item, records)
    before = project_status(store)
    store.moderation.exclude("spammer", "owner")
    after = project_status(store)
    # 4 times aaa, 4 times bba: 8 of 24 coincidences differ, of which chance makes 2 * 16 * 8 / 23.
    assert [each.alpha for each in before.agreements] == [pytest.approx(1 - 8 / (2 * 16 * 8 / 23))]
    assert [each.alpha for each in after.agreements] == [1.0]
    assert (before.votes, after.votes) == (24, 16)
    assert after.left_out == "Left out: 8 answers of 1 excluded annotator."
    assert {each.annotator: each.is_excluded for each in after.contributions} == {
        "ann": False,
        "bob": False,
        "spammer": True,
    }


def test_the_roster_names_everybody_with_their_state(store: FeedbackStore) -> None:
    store.update_setting("accounts", lambda _: {"new": {"salt": "00", "hash": ""}})
    store.add([question(0)], overlap=3)
    vote(store, "ann")
    vote(store, "bob")
    store.moderation.exclude("bob", "owner")
    store.moderation.block("bob", "owner")
    assert [(row.name, row.has_account, row.answers, row.passed, row.state) for row in roster(store)] == [
        ("ann", False, 1, "-", "counted"),
        ("bob", False, 1, "-", "excluded, blocked"),
        ("new", True, 0, "-", "counted"),
    ]


def test_no_time_breaks_a_table() -> None:
    assert [shown_time(seconds) for seconds in (float("inf"), float("nan"), 1e308, -1e308)] == ["-"] * 4
    assert shown_time(86_400.0 * 365).startswith("19")
