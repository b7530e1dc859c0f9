"""The store: asking, voting, undoing, counting; many users at once; files that are no store."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.errors import DataError
from textgym.feedback import (
    Assignment,
    Behaviour,
    By,
    FeedbackStore,
    VoteConflictError,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
    shown_order,
)
from textgym.feedback.store.database import Database
from textgym.feedback.store.schema import APPLICATION_ID, MIGRATIONS
from textgym.feedback.types import Choice, Mode, Question, Record

ODD = "half \ud83d, null \x00, <b>é</b>"


class Clock:
    """Time that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[FeedbackStore]:
    with FeedbackStore(tmp_path / "new" / "project.db", clock=clock) as store:
        yield store


def questions(n: int, mode: Mode = "compare") -> list[Question]:
    return [Question(f"k{i}", f"prompt {i} {ODD}", ("one", "two"), mode, ("old", "new")) for i in range(n)]


def vote(store: FeedbackStore, annotator: str, vote_id: str | None = None, choice: Choice = "a") -> int | None:
    """Answer the next question; returns its number."""
    asked = store.assign(annotator)
    if asked is None:
        return None
    records = answer_compare(asked.question, choice, By(annotator, 5.0, 1.0))
    assert store.vote(vote_id or f"{annotator}-{asked.item}", annotator, asked.item, records)
    return asked.item


def asked(assignment: Assignment | None) -> int:
    assert assignment is not None
    return assignment.item


def test_a_vote_is_kept_as_it_was(store: FeedbackStore) -> None:
    (item,) = store.add(questions(1))
    assignment = store.assign("ann")
    assert assignment is not None
    assert replace(assignment.question, order_seed=None) == questions(1)[0]
    records = answer_compare(assignment.question, "b", By("ann", 5.0, 1.5))
    assert store.vote("v1", "ann", item, records)
    with FeedbackStore(store.path) as again:
        (kept,) = again.votes()
        assert (kept.id, kept.item, kept.annotator, kept.received, kept.records) == ("v1", 1, "ann", 1000.0, records)
        assert again.records() == list(records)
        assert again.questions() == {item: questions(1)[0]}
        assert again.assignment("ann", item) == assignment
        assert again.assignment("bob", item) is None


def test_questions_are_added_once(store: FeedbackStore) -> None:
    assert store.add(questions(3)) == [1, 2, 3]
    assert store.add([replace(questions(4)[3], order_seed=9), *questions(3)]) == [4, 1, 2, 3]
    assert store.progress().items == 4


def test_adding_again_asks_more_people_never_fewer(store: FeedbackStore) -> None:
    store.add(questions(2), priority=2.0)
    store.add(questions(1), overlap=3, priority=5.0)
    store.add(questions(2), overlap=2)
    store.add(questions(1))
    assert [(row.overlap, row.priority) for row in store.plan()] == [(3, 2.0), (2, 2.0)]
    assert [vote(store, name) for name in ("ann", "bob", "cy", "dan")] == [1, 1, 1, 2]
    assert store.progress() == (2, 1, 4, 5)


def test_who_left_resumes_with_the_same_question_in_the_same_order(store: FeedbackStore, clock: Clock) -> None:
    store.add(questions(5))
    first = store.assign("ann")
    clock.now += 10_000
    second = store.assign("ann")
    assert first is not None
    assert second is not None
    assert first.question == second.question


def test_nobody_is_asked_twice_and_nothing_more_often_than_wanted(store: FeedbackStore) -> None:
    store.add(questions(7), overlap=2)
    items = {name: [item for _ in range(8) if (item := vote(store, name)) is not None] for name in ("ann", "bob", "cy")}
    assert items == {"ann": [1, 2, 3, 4, 5, 6, 7], "bob": [1, 2, 3, 4, 5, 6, 7], "cy": []}
    assert store.progress() == (7, 7, 14, 14)


def test_open_questions_are_left_to_those_who_answer_them_for_half_an_hour(store: FeedbackStore, clock: Clock) -> None:
    store.add(questions(1))
    assert asked(store.assign("ann")) == 1
    assert store.assign("bob") is None
    clock.now += 1801
    assert asked(store.assign("bob")) == 1


def test_priorities_come_first(store: FeedbackStore) -> None:
    store.add(questions(3))
    store.add(questions(4)[3:], priority=1.0)
    store.set_priorities({2: 5.0})
    assert [vote(store, "ann") for _ in range(4)] == [2, 4, 1, 3]


def test_only_questions_of_the_mode_that_was_asked_for(store: FeedbackStore) -> None:
    store.add(questions(1) + questions(1, "rank"))
    assert asked(store.assign("ann", "rank")) == 2
    assert store.assign("ann", "rate") is None
    assert asked(store.assign("ann", "compare")) == 1


def test_every_annotator_gets_an_order_of_their_own(store: FeedbackStore) -> None:
    (item,) = store.add(questions(1), overlap=400)
    orders = Counter()
    for number in range(400):
        assignment = store.assign(f"person {number}")
        assert assignment is not None
        orders[shown_order(2, assignment.question.order_seed)] += 1
    assert all(150 < orders[order] < 250 for order in ((0, 1), (1, 0)))  # standard deviation 10
    assert item == 1


def test_a_resent_vote_is_one_vote(store: FeedbackStore) -> None:
    store.add(questions(2))
    question = store.questions()[1]
    assert store.vote("v", "ann", 1, answer_compare(question, "a", By("ann", 1.0)))
    assert not store.vote("v", "ann", 1, answer_compare(question, "a", By("ann", 2.0)))
    assert [v.records[0].time for v in store.votes()] == [1.0]
    assert store.progress().votes == 1


def test_contradicting_votes_are_refused(store: FeedbackStore) -> None:
    store.add(questions(2))
    first, second = store.questions().values()
    store.vote("v", "ann", 1, answer_compare(first, "a", By("ann")))
    with pytest.raises(VoteConflictError, match="got a second, 'w'"):
        store.vote("w", "ann", 1, answer_compare(first, "b", By("ann")))
    with pytest.raises(VoteConflictError, match="'v', which names another vote"):
        store.vote("v", "bob", 1, answer_compare(first, "b", By("bob")))
    with pytest.raises(VoteConflictError, match="'v', which names another vote"):
        store.vote("v", "ann", 2, answer_compare(second, "b", By("ann")))
    assert [v.id for v in store.votes()] == ["v"]


def test_skips_are_not_asked_again_and_leave_the_question_to_others(store: FeedbackStore) -> None:
    store.add(questions(2))
    assert store.skip("s", "ann", asked(store.assign("ann")))
    assert not store.skip("s", "ann", 1)
    assert asked(store.assign("ann")) == 2
    assert asked(store.assign("bob")) == 1
    assert store.annotator_progress("ann") == (0, 1, 1)
    assert store.progress() == (2, 0, 0, 2)
    assert (store.records(), [v.skipped for v in store.votes()]) == ([], [True])


def test_undo_opens_the_question_again(store: FeedbackStore) -> None:
    store.add(questions(3))
    assert [vote(store, "ann", "v1"), vote(store, "ann", "v2")] == [1, 2]
    assert asked(store.assign("ann")) == 3
    last = store.last_vote("ann")
    assert last is not None
    assert last.id == "v2"
    assert store.undo("ann", "v2")
    assert not store.undo("ann", "v2")
    assert [v.id for v in store.votes()] == ["v1"]
    assert store.progress().votes == 1
    assert store.annotator_progress("ann") == (1, 0, 2)
    assert asked(store.assign("ann")) == 2
    # The vote that was undone comes in once more, late: it stays undone.
    assert not store.vote("v2", "ann", 2, answer_compare(store.questions()[2], "a", By("ann")))
    assert vote(store, "ann", "v3") == 2
    assert [v.id for v in store.votes()] == ["v1", "v3"]
    assert vote(store, "ann") == 3


def test_only_votes_of_ones_own_are_undone(store: FeedbackStore) -> None:
    store.add(questions(1))
    vote(store, "ann", "v1")
    for annotator, vote_id in (("bob", "v1"), ("ann", "v2")):
        with pytest.raises(ValueError, match=f"expected a vote of '{annotator}' to undo, got '{vote_id}'"):
            store.undo(annotator, vote_id)
    assert store.last_vote("bob") is None


def test_an_undone_skip_is_no_vote_less(store: FeedbackStore) -> None:
    store.add(questions(1))
    store.skip("s", "ann", asked(store.assign("ann")))
    assert store.undo("ann", "s")
    assert store.progress().votes == 0
    assert asked(store.assign("ann")) == 1


def test_what_others_have_answered_meanwhile_is_not_asked_again(store: FeedbackStore, clock: Clock) -> None:
    store.add(questions(2))
    assert store.skip("s", "ann", asked(store.assign("ann")))
    assert vote(store, "bob") == 1
    store.undo("ann", "s")
    assert asked(store.assign("ann")) == 2
    clock.now += 10_000  # she leaves, and somebody else answers
    assert vote(store, "cy") == 2
    assert store.assign("ann") is None
    assert store.annotator_progress("ann") == (0, 0, 0)
    assert store.progress() == (2, 2, 2, 2)


def test_natural_use_grows(store: FeedbackStore) -> None:
    store.add(questions(1, "natural"))
    question, by = store.questions()[1], By("ann")
    early = answer_natural(question, [Behaviour(0, False, 1.0), Behaviour(1, False, 0.0)], by)
    late = answer_natural(question, [Behaviour(0, True, 9.0), Behaviour(1, False, 2.0)], by)
    assert store.vote("v", "ann", 1, early, revise=True)
    assert store.vote("v", "ann", 1, late, revise=True)
    assert store.vote("v", "ann", 1, early, revise=True)  # overtaken on its way
    assert store.vote("v", "ann", 1, (), revise=True)
    assert store.records() == list(late)
    assert store.progress().votes == 1
    assert not store.vote("v", "ann", 1, early)
    assert store.records() == list(late)


def answers(mode: Mode, question: Question, by: By) -> tuple[Record, ...]:
    made: dict[Mode, tuple[Record, ...]] = {
        "compare": answer_compare(replace(question, mode="compare"), "tie", by),
        "rank": answer_rank(question, (2, 1), by),
        "rate": answer_rate(question, (5, 1), by, [{"clear": 2}, {}]),
        "edit": answer_edit(question, "mine", 1, "b", by),
        "natural": answer_natural(question, [Behaviour(1, True, 2.0), Behaviour(0, False, 0.0, 0.5, True)], by),
    }
    return made[mode]


@pytest.mark.parametrize("mode", ["compare", "rank", "rate", "edit", "natural"])
def test_every_mode_is_kept_and_checked(store: FeedbackStore, mode: Mode) -> None:
    store.add(questions(2, mode))
    first, second = store.questions().values()
    good, by = answers(mode, first, By("ann", 1.0, 2.0)), By("ann")
    another: Mode = "rank" if mode == "compare" else "compare"
    bad: list[tuple[Record, ...]] = [
        answers(mode, second, by),
        answers(mode, replace(first, generators=()), by),
        answers(mode, replace(first, responses=("three", "four")), by),
        answers(mode, first, By("bob")),
        answers(another, first, by),
        good + good,
    ]
    for records in bad:
        with pytest.raises(ValueError, match="expected"):
            store.vote("v", "ann", 1, records)
    assert store.votes() == []
    assert store.vote("v", "ann", 1, good)
    assert store.records() == list(good)


def test_a_text_written_from_scratch(store: FeedbackStore) -> None:
    store.add([Question("k", "p", ("one",), "edit", ("g",))])
    records = answer_edit(store.questions()[1], "mine", None, None, By("ann"))
    assert (records[0].generators, store.vote("v", "ann", 1, records)) == ((), True)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "a\x00", "\u202eeve"])
def test_names_that_are_no_names_are_refused(store: FeedbackStore, name: str) -> None:
    store.add(questions(1))
    with pytest.raises(ValueError, match="expected a name of 1 to 200 visible characters"):
        store.assign(name)
    with pytest.raises(ValueError, match="expected a name of 1 to 200 visible characters"):
        store.vote(name, "ann", 1, ())


def test_what_is_not_there_is_an_error(store: FeedbackStore) -> None:
    with pytest.raises(ValueError, match="number of a question in the store, got 7"):
        store.vote("v", "ann", 7, ())
    with pytest.raises(ValueError, match="got overlap 0"):
        store.add(questions(1), overlap=0)


@pytest.mark.parametrize("texts", [("one", "one"), ("", ""), ("one", "", "two", "one")])
def test_equal_texts_cannot_be_asked_about(store: FeedbackStore, texts: tuple[str, ...]) -> None:
    question, message = Question("k", "p", texts, "rank"), f"number 1 and number {len(texts)} with the same text, "
    with pytest.raises(ValueError, match=f"{message}'{texts[0]}'"):
        store.add([*questions(1), question])
    with pytest.raises(ValueError, match=message):
        store.add_checks([question], [list(range(1, len(texts) + 1))])
    assert store.plan() == []
    assert store.add([Question("k", "p", ("one", ""))]) == [1]


def test_equal_criteria_cannot_be_graded(store: FeedbackStore) -> None:
    with pytest.raises(ValueError, match="expected criteria that differ"):
        store.add([Question("k", "p", ("one",), "rate", criteria=("short", "short"))])


def test_attention_checks(store: FeedbackStore) -> None:
    store.add(questions(60))
    checks = store.add_checks([Question(f"c{i}", "p", ("good", "bad")) for i in range(3)], ["a"] * 3)
    places: dict[str, list[int]] = {}
    for annotator, choice in (("ann", "a"), ("bob", "b")):
        items = [vote(store, annotator, choice=choice) for _ in range(30)]  # type: ignore[arg-type]
        assert [item for item in items if item in checks] == checks
        places[annotator] = [items.index(check) for check in checks]
        assert [place // 10 for place in places[annotator]] == [0, 1, 2]
    assert store.attention() == {"ann": (3, 3), "bob": (0, 3)}
    assert store.progress() == (60, 54, 54, 60)
    assert len(store.records()) == 54
    assert len(store.records(checks=True)) == 60
    assert sum(v.is_check for v in store.votes("ann")) == 3


@pytest.mark.parametrize(
    ("mode", "expected", "right", "wrong"),
    [("rank", (2, 1), (2, 1), (1, 2)), ("rate", (4, 5), (4, 5), (4, 3))],
)
def test_checks_of_other_modes(store: FeedbackStore, mode: Mode, expected: Any, right: Any, wrong: Any) -> None:
    question = questions(1, mode)[0]
    (item,) = store.add_checks([question], [expected])
    make = answer_rank if mode == "rank" else answer_rate
    store.vote("v", "ann", item, make(question, right, By("ann")))
    store.vote("w", "bob", item, make(question, wrong, By("bob")))
    assert store.attention() == {"ann": (1, 1), "bob": (0, 1)}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("compare", "c"), ("compare", (1, 2)), ("rank", "a"), ("rank", (1, 2, 3)), ("rate", (0, 5)), ("natural", "a")],
)
def test_checks_that_nobody_could_pass_are_refused(store: FeedbackStore, mode: Mode, expected: Any) -> None:
    with pytest.raises(ValueError, match=f"expected the answer to a check of mode {mode}"):
        store.add_checks(questions(1, mode), [expected])


def test_settings_are_plain_data(store: FeedbackStore) -> None:
    assert store.setting("title", "none") == "none"
    assert store.update_setting("title", lambda old: [old, ODD]) == [None, ODD]
    assert FeedbackStore(store.path).setting("title") == [None, ODD]


def test_votes_over_time(store: FeedbackStore, clock: Clock) -> None:
    store.add(questions(3))
    vote(store, "ann")
    clock.now = 2000.0
    vote(store, "bob")
    store.skip("s", "ann", asked(store.assign("ann")))
    assert store.vote_times() == [(1000.0, "ann"), (2000.0, "bob")]


def test_imported_votes_are_kept_once(store: FeedbackStore) -> None:
    records = answer_rate(questions(1, "rate")[0], (1, 5), By("ann"))
    assert store.add_votes([("x", records), ("y", records[:1]), ("x", records)]) == 2
    assert store.add_votes([("x", records)]) == 0
    assert store.records() == [*records, records[0]]
    assert store.progress() == (0, 0, 0, 0)
    assert store.last_vote("ann") is None
    with pytest.raises(ValueError, match="one record or more in vote 'z'"):
        store.add_votes([("w", records), ("z", ())])
    assert len(store.votes()) == 2


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["vote", "skip", "undo", "resend", "assign"]), st.integers(0, 2)), max_size=60)
)
def test_whatever_people_do_the_counts_are_right(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Nobody answers twice, nothing is answered more often than wanted, and a vote that was undone stays undone."""
    sent: list[tuple[str, str, int, tuple[Record, ...]]] = []
    with FeedbackStore(tmp_path_factory.mktemp("store") / "x.db", clock=Clock()) as store:
        store.add(questions(4), overlap=2)
        for number, (step, who) in enumerate(steps):
            name = ("ann", "bob", "cy")[who]
            assignment, last = store.assign(name), store.last_vote(name)
            if step in ("vote", "skip") and assignment is not None:
                records = answer_compare(assignment.question, "a", By(name)) if step == "vote" else ()
                sent.append((f"v{number}", name, assignment.item, records))
                assert store.vote(*sent[-1])
            elif step == "undo" and last is not None:
                assert store.undo(name, last.id)
            elif step == "resend" and sent:
                assert not store.vote(*sent[number % len(sent)])
        votes = store.votes()
        assert len({(vote.annotator, vote.item) for vote in votes}) == len(votes)
        counts = Counter(vote.item for vote in votes if not vote.skipped)
        assert all(count <= 2 for count in counts.values())
        full = sum(count == 2 for count in counts.values())
        assert store.progress() == (4, full, sum(counts.values()), 8)
        for name in ("ann", "bob", "cy"):
            mine = [vote.skipped for vote in votes if vote.annotator == name]
            assert store.annotator_progress(name)[:2] == (mine.count(False), mine.count(True))


def test_threads_share_a_store(store: FeedbackStore) -> None:
    store.add(questions(40), overlap=2)

    def work(name: str) -> int:
        return sum(vote(store, name) is not None for _ in range(41))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(work, [f"person {number}" for number in range(8)]))
    assert sum(counts) == 80
    assert store.progress() == (40, 40, 80, 80)


def test_a_thread_can_read_while_another_writes(store: FeedbackStore) -> None:
    """Readers see what was there before, at once."""
    entered, leave = threading.Event(), threading.Event()

    def slow(_: object) -> int:
        entered.set()
        assert leave.wait(60)
        return 1

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.update_setting, "x", slow)
        assert entered.wait(60)
        assert store.setting("x", "before") == "before"
        leave.set()
        assert writing.result() == 1
    assert store.setting("x") == 1


def test_who_waits_too_long_gets_an_error(store: FeedbackStore) -> None:
    with FeedbackStore(store.path, timeout=0.05) as hasty:

        def blocked(_: object) -> None:
            hasty.add(questions(1))

        with pytest.raises(TimeoutError, match=r"free within 0\.05 s"):
            store.update_setting("x", blocked)
    assert store.setting("x", "nothing") == "nothing"


def test_a_fork_uses_connections_of_its_own(store: FeedbackStore) -> None:
    store.add(questions(2))
    child = os.fork()
    if child == 0:
        os._exit(0 if vote(store, "ann") == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert vote(store, "bob") == 2


def test_commits_wait_for_the_disk(store: FeedbackStore) -> None:
    with store._database.write() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_closed_store_says_so(store: FeedbackStore) -> None:
    store.close()
    store.close()
    with pytest.raises(ValueError, match="which was closed; open it again"):
        store.votes()


def test_a_text_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("some text that is no database\n" * 100)
    with pytest.raises(DataError, match=r"expected a feedback store, got '.*x\.db' \(file is not a database\)"):
        FeedbackStore(tmp_path / "x.db")
    assert (tmp_path / "x.db").read_text().startswith("some text")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    before = (tmp_path / "x.db").read_bytes()
    with pytest.raises(DataError, match="a database of something else"):
        FeedbackStore(tmp_path / "x.db")
    assert (tmp_path / "x.db").read_bytes() == before


def test_a_newer_store_asks_for_a_newer_textgym(store: FeedbackStore) -> None:
    store.close()
    newer = (*MIGRATIONS, ("CREATE TABLE extra (a)",))
    Database(store.path, APPLICATION_ID, newer, 1.0).close()
    with pytest.raises(DataError, match=r"version 1 or older, got '.*' of version 2; upgrade textgym"):
        FeedbackStore(store.path)


def test_older_files_are_brought_up_to_date_and_keep_what_they_have(tmp_path: Path) -> None:
    first = ("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    second = ("ALTER TABLE t ADD COLUMN b DEFAULT 7", "INSERT INTO t VALUES (2, 3)")
    Database(tmp_path / "x.db", 5, [first], 1.0).close()
    for _ in range(2):
        with Database(tmp_path / "x.db", 5, [first, second], 1.0) as database, database.read() as db:
            assert db.execute("SELECT a, b FROM t").fetchall() == [(1, 7), (2, 3)]
            assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    first, broken = ("CREATE TABLE t (a)",), ("ALTER TABLE t ADD COLUMN b", "NONSENSE")
    Database(tmp_path / "x.db", 5, [first], 1.0).close()
    with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
        Database(tmp_path / "x.db", 5, [first, broken], 1.0)
    with Database(tmp_path / "x.db", 5, [first], 1.0) as database, database.read() as db:
        assert db.execute("SELECT * FROM t").description[0][0] == "a"


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    def work(_: int) -> str:
        with FeedbackStore(tmp_path / "x.db") as store:
            return str(store.setting("salt"))

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(work, range(16)))) == 1


def test_a_damaged_file_is_refused(store: FeedbackStore) -> None:
    store.add(questions(300))
    store.close()
    content = bytearray(store.path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    store.path.write_bytes(content)
    with pytest.raises(DataError, match=r"malformed.*check the path"), FeedbackStore(store.path) as damaged:
        damaged.questions()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="expected a file that can be written"):
        FeedbackStore(tmp_path)


def test_a_file_that_vanished_is_not_made_again(store: FeedbackStore) -> None:
    store._database._idle.clear()
    for path in list(store.path.parent.iterdir()):
        path.unlink()
    with pytest.raises(PermissionError, match="unable to open"):
        store.votes()
    assert list(store.path.parent.iterdir()) == []


def test_a_file_that_is_read_only(store: FeedbackStore) -> None:
    """In a process without root's rights, for which nothing is read-only."""
    store.close()
    for path, mode in ((store.path, 0o444), (store.path.parent, 0o555)):
        path.chmod(mode)
    code = """
import os, sys
from textgym.feedback import FeedbackStore
if os.getuid() == 0: os.setresuid(65534, 65534, 65534)
try: FeedbackStore(sys.argv[1])
except PermissionError as error: print(error)
"""
    folders = [folder for folder in store.path.parents if folder.exists()]
    if not all(os.stat(folder).st_mode & 0o005 == 0o005 for folder in folders):
        for folder in folders:
            if "pytest" in str(folder):
                folder.chmod(0o755 if folder != store.path.parent else 0o555)
        if not all(os.stat(folder).st_mode & 0o005 == 0o005 for folder in folders):
            pytest.skip("needs a temporary folder that others may enter")
    run = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True)
    store.path.parent.chmod(0o755)
    assert "expected a file that can be written" in run.stdout
