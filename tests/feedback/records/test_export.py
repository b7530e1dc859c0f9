"""Records in the forms that others read, and votes from store to store."""

import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from textgym.errors import DataError
from textgym.feedback import (
    By,
    FeedbackStore,
    SimulatedPerson,
    answer_compare,
    answer_rate,
    export_questions,
    export_records,
    export_votes,
    import_questions,
    import_votes,
    read_records,
    to_labelled_rows,
    to_preference_rows,
    write_records,
)
from textgym.feedback.projects import project_status
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Mode, Question, Ranking, Rating, Record

COMPARISON = Comparison("k", "p", "x", "y", "b", annotator="ann", generators=("g", "h"))
RANKING = Ranking("k", "p", ("low", "top", "mid", "mid2"), (4, 1, 2, 2))
RECORDS: list[Record] = [
    COMPARISON,
    replace(COMPARISON, choice="tie"),
    replace(COMPARISON, choice="both_bad"),
    RANKING,
    *(Rating("k", "p", f"r{rating}", rating) for rating in range(1, 6)),
    Demonstration("k", "p", "mine", edited_from="draft"),
    Demonstration("k", "p", "same", edited_from="same"),
    Demonstration("k", "p", "scratch"),
    ImplicitFeedback("k", "p", "seen", 0, True, 3.0),
]
PAIRS = [
    ("y", "x"),
    ("top", "low"),
    ("top", "mid"),
    ("top", "mid2"),
    ("mid", "low"),
    ("mid2", "low"),
    ("mine", "draft"),
]
LABELS = [("y", True), ("x", False), ("x", False), ("y", False), ("low", False), ("top", True)]
LABELS += [("r1", False), ("r2", False), ("r4", True), ("r5", True), ("mine", True), ("same", True), ("scratch", True)]


def test_preference_rows_by_hand() -> None:
    rows = to_preference_rows(RECORDS)
    assert [(row["chosen"], row["rejected"]) for row in rows] == PAIRS
    assert {row["prompt"] for row in rows} == {"p"}


def test_labelled_rows_by_hand() -> None:
    rows = to_labelled_rows(RECORDS)
    assert [(row["completion"], row["label"]) for row in rows] == LABELS
    assert to_labelled_rows([replace(RANKING, ranks=(1, 1, 1, 1))]) == []


def test_the_data_sets_library_reads_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    records = [*RECORDS, replace(COMPARISON, prompt="half \ud83d\u2028")]
    for form in ("preferences", "labels"):
        export_records(records, tmp_path / f"{form}.jsonl", form)  # type: ignore[arg-type]
    names = {form: str(tmp_path / f"{form}.jsonl") for form in ("preferences", "labels")}
    pairs = datasets.Dataset.from_json(names["preferences"], cache_dir=str(tmp_path / "cache"))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in pairs] == [
        *(("p", *pair) for pair in PAIRS),
        ("half ?\u2028", "y", "x"),
    ]
    labels = datasets.Dataset.from_json(names["labels"], cache_dir=str(tmp_path / "cache"))
    assert labels.features["label"].dtype == "bool"
    assert [(row["completion"], row["label"]) for row in labels] == [*LABELS, ("y", True), ("x", False)]


def test_records_come_back_whole(tmp_path: Path) -> None:
    export_records(RECORDS, tmp_path / "r.jsonl")
    assert read_records(tmp_path / "r.jsonl") == RECORDS
    with pytest.raises(ValueError, match="records, preferences, labels, csv, got 'xml'"):
        export_records(RECORDS, tmp_path / "r.xml", "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", "\n=", "  =", "＝", "\xa0@"])
def test_no_cell_is_a_formula(tmp_path: Path, start: str) -> None:
    evil = f'{start}HYPERLINK("http://x","y")'
    record = Rating(evil, evil, evil, 3, annotator=evil, generators=(evil,), criteria={evil: 2}, time=-5.0)
    export_records([record, replace(COMPARISON, prompt='a,"b"\nc')], tmp_path / "r.csv", "csv")
    with open(tmp_path / "r.csv", encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert {first[name] for name in ("task_key", "prompt", "annotator", "response")} == {f"'{evil}"}
    assert (first["generators"][0], first["criteria"][0], first["time"], first["rating"]) == ("[", "{", "-5.0", "3")
    assert (second["prompt"], second["choice"], second["rating"]) == ('a,"b"\nc', "b", "")


def test_no_part_of_a_cell_is_a_formula_where_semicolons_separate(tmp_path: Path) -> None:
    export_records([replace(COMPARISON, prompt="x; =1+1;-2", response_a="one; two")], tmp_path / "r.csv", "csv")
    with open(tmp_path / "r.csv", encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["prompt"], row["response_a"]) == ("x; '=1+1;'-2", "one; two")


def filled(path: Path) -> FeedbackStore:
    store = FeedbackStore(path)
    store.add([Question("k", "p", ("x", "y")), Question("k", "p", ("x", "y"), "rate")], overlap=2)
    compare, rate = store.questions().values()
    store.vote("v1", "ann", 1, answer_compare(compare, "tie", By("ann")))
    store.vote("v2", "ann", 2, answer_rate(rate, (1, 5), By("ann", 3.0)))
    store.skip("v3", "bob", 1)
    store.add_checks([Question("c", "p", ("x", "y"))], ["a"])
    store.vote("v4", "bob", 3, answer_compare(store.questions()[3], "a", By("bob")))
    return store


def test_votes_go_from_store_to_store_once(tmp_path: Path) -> None:
    with filled(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        assert export_votes(one, tmp_path / "v.jsonl") == 4
        assert import_votes(one, tmp_path / "v.jsonl") == 0
        assert import_votes(two, tmp_path / "v.jsonl") == 2
        assert import_votes(two, tmp_path / "v.jsonl") == 0
        assert [(v.id, v.annotator, v.records) for v in two.votes()] == [
            (v.id, v.annotator, v.records) for v in one.votes() if v.records and not v.is_check
        ]
        assert read_records(tmp_path / "v.jsonl") == one.records()


def test_the_time_of_the_last_answer_survives_an_import(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "a.db") as store:
        records = {f"v{n}": replace(COMPARISON, prompt=f"p{n}", annotator="ann", time=60.0 - n) for n in (1, 2)}
        store.add_votes([(name, [record]) for name, record in records.items()])
        assert [each.last for each in project_status(store).contributions] == [59.0]


@pytest.mark.parametrize("first", ["questions", "votes"])
def test_votes_count_on_the_questions_that_they_answer(tmp_path: Path, first: str) -> None:
    with filled(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        export_votes(one, tmp_path / "votes.jsonl")
        export_questions(one, tmp_path / "questions.jsonl")
        steps = [lambda: import_questions(two, tmp_path / "questions.jsonl")]
        steps.insert(first == "votes", lambda: import_votes(two, tmp_path / "votes.jsonl"))
        for step in [*steps, *steps]:
            step()
        assert two.progress() == one.progress() == (2, 0, 2, 4)
        assert sorted((v.id, v.item, v.is_check, v.records) for v in two.votes() if not v.is_check) == sorted(
            (v.id, v.item, v.is_check, v.records) for v in one.votes() if not v.is_check and v.records
        )
        import_votes(two, tmp_path / "votes.jsonl")
        assert two.attention() == one.attention() == {"bob": (1, 1)}
        assert two.records() == one.records()
        asked = two.assign("ann")
        assert asked is None or two.plan()[asked.item - 1].expected  # both questions were answered, the check was not


@pytest.mark.parametrize("mode", ["compare", "rank", "rate", "edit", "natural"])
def test_every_mode_finds_its_question(tmp_path: Path, mode: Mode) -> None:
    criteria = ("short",) if mode == "rate" else ()
    others: tuple[Mode, ...] = ("compare", "rank", "rate", "edit", "natural")
    with FeedbackStore(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        (item,) = one.add([Question("k", "p", ("x", "y"), mode, ("g", "h"), criteria=criteria)])
        person = SimulatedPerson(lambda texts, keys: [1.0] * len(texts), np.random.default_rng(0), name="ann")
        one.vote("v", "ann", item, person.answer([one.questions()[item]])[0])
        export_votes(one, tmp_path / "votes.jsonl")
        two.add([Question("k", "p", ("x", "y"), other) for other in others])  # of nobody knows whom
        two.add([Question("k", "p", ("x", "y"), other, ("g", "h"), criteria=criteria) for other in others])
        import_votes(two, tmp_path / "votes.jsonl")
        (kept,) = two.votes()
        assert kept.item is not None
        assert two.questions()[kept.item] == one.questions()[item]
        assert two.progress().votes == 1


def test_one_vote_of_each_person_counts_on_a_question(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [COMPARISON, replace(COMPARISON, choice="a")])
    with FeedbackStore(tmp_path / "a.db") as store:
        store.add([Question("k", "p", ("x", "y"), generators=("g", "h"))], overlap=2)
        assert import_votes(store, tmp_path / "r.jsonl") == 2
        assert [vote.item for vote in store.votes()] == [1, None]
        assert store.progress().votes == 1
        assert store.undo("ann", store.votes()[0].id)
        assert import_votes(store, tmp_path / "r.jsonl") == 0


def test_records_come_back_to_their_own_project_once(tmp_path: Path) -> None:
    with filled(tmp_path / "a.db") as store:
        before = store.records(checks=True)
        export_records(store.records(), tmp_path / "r.jsonl")
        assert import_votes(store, tmp_path / "r.jsonl") == 0
        write_records(tmp_path / "more.jsonl", [*store.records(), store.records()[0]])
        assert import_votes(store, tmp_path / "more.jsonl") == 1
        assert store.records(checks=True)[: len(before)] == before


def test_records_without_names_are_imported_once_each(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [COMPARISON, COMPARISON, RANKING])
    with FeedbackStore(tmp_path / "a.db") as store:
        assert [import_votes(store, tmp_path / "r.jsonl") for _ in range(2)] == [3, 0]
        assert store.records() == [COMPARISON, COMPARISON, RANKING]


def compared(path: Path, name: str, annotator: str = "ann") -> FeedbackStore:
    """A store of one question about ``name``, answered under a name that other stores use too."""
    store = FeedbackStore(path)
    (item,) = store.add([Question("k", name, ("x", "y"))])
    store.vote("1", annotator, item, answer_compare(store.questions()[item], "a", By(annotator, 1.0)))
    return store


def test_votes_of_one_name_about_different_texts_are_both_kept_however_often_they_come_back(tmp_path: Path) -> None:
    with compared(tmp_path / "a.db", "p") as one, compared(tmp_path / "b.db", "q") as two:
        for source, target, new in [(one, two, 1), (two, one, 1), (one, two, 0), (two, one, 0)]:
            export_votes(source, tmp_path / "v.jsonl")
            assert import_votes(target, tmp_path / "v.jsonl") == new
        assert [{vote.id[:2]: vote.item for vote in store.votes()} for store in (one, two)] == [
            {"1": 1, "1-": None}
        ] * 2
        export_votes(one, tmp_path / "v.jsonl")
        with FeedbackStore(tmp_path / "c.db") as three:
            assert import_votes(three, tmp_path / "v.jsonl") == 2
            export_votes(two, tmp_path / "v.jsonl")
            assert import_votes(three, tmp_path / "v.jsonl") == 0


def test_two_exports_in_one_file_with_one_name_for_two_votes(tmp_path: Path) -> None:
    rows = []
    for place, annotator in enumerate(("ann", "bob")):
        with compared(tmp_path / f"{place}.db", "p", annotator) as store:
            export_votes(store, tmp_path / "v.jsonl")
            rows.append((tmp_path / "v.jsonl").read_text())
    (tmp_path / "v.jsonl").write_text("".join([*rows, *rows]))
    with FeedbackStore(tmp_path / "all.db") as store:
        assert import_votes(store, tmp_path / "v.jsonl") == 2
        assert [vote.annotator for vote in store.votes()] == ["ann", "bob"]
        assert [len(vote.records) for vote in store.votes()] == [1, 1]


def test_the_lines_of_a_vote_need_not_stand_together(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        for item in one.add([Question(name, "p", ("x", "y", "z"), "rate") for name in "kl"]):
            one.vote(f"v{item}", "ann", item, answer_rate(one.questions()[item], (1, 3, 5), By("ann")))
        export_votes(one, tmp_path / "v.jsonl")
        lines = (tmp_path / "v.jsonl").read_text().splitlines()
        (tmp_path / "v.jsonl").write_text("\n".join(lines[place] for place in (0, 3, 1, 4, 2, 5)))
        assert import_votes(two, tmp_path / "v.jsonl") == 2
        assert two.records() == one.records()


def test_votes_whose_records_came_before_without_their_names(tmp_path: Path) -> None:
    with filled(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        export_records(one.records(), tmp_path / "r.jsonl")
        export_votes(one, tmp_path / "v.jsonl")
        assert import_votes(two, tmp_path / "r.jsonl") == 3
        assert import_votes(two, tmp_path / "v.jsonl") == 0
        assert two.records() == one.records()


def test_grades_count_where_the_same_criteria_are_asked(tmp_path: Path) -> None:
    asked = Question("k", "p", ("x", "y"), "rate", criteria=("short",))
    with FeedbackStore(tmp_path / "a.db") as one, FeedbackStore(tmp_path / "b.db") as two:
        one.add([asked])
        one.vote("v", "ann", 1, answer_rate(asked, (1, 5), By("ann"), [{"short": 2}] * 2))
        export_votes(one, tmp_path / "v.jsonl")
        two.add([replace(asked, criteria=()), asked])
        import_votes(two, tmp_path / "v.jsonl")
        assert [vote.item for vote in two.votes()] == [2]


def test_thousands_of_pairs_about_one_prompt_are_joined_at_once(tmp_path: Path) -> None:
    questions = [Question("k", "Tell a joke.", (f"x{n}", f"y{n}")) for n in range(2000)]
    with FeedbackStore(tmp_path / "a.db") as store:
        store.add(questions)
        start = time.process_time()
        store.add_votes([(f"v{n}", answer_compare(each, "a", By("ann"))) for n, each in enumerate(questions)])
        assert time.process_time() - start < 3  # 0.1 s; comparing every vote with every question took 6 s
        assert store.progress().complete == 2000


def test_a_broken_line_imports_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "x", "rejected": "y"}, {"kind": "rating"}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with FeedbackStore(tmp_path / "a.db") as store:
        with pytest.raises(DataError, match=r"r\.jsonl:2: expected 'task_key' of a rating"):
            import_votes(store, tmp_path / "r.jsonl")
        assert store.votes() == []
