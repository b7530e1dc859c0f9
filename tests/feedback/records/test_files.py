"""Records of every kind: what cannot be right, JSON lines that lose nothing, the shown order."""

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.errors import DataError
from textgym.feedback import export_records, read_comparisons, read_records, shown_order, write_records
from textgym.feedback.records.parsing import question_from_json, question_to_json
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Question, Ranking, Rating, Record
from textgym.types import Message, shown_text

TEXTS = st.text(st.characters(exclude_categories=[]))
SECONDS = st.none() | st.floats(0, 1e9)
MESSAGES = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS)
SHOWN = TEXTS | st.lists(MESSAGES, min_size=1, max_size=3).map(tuple)
ABOUT: dict[str, Any] = {"task_key": TEXTS, "prompt": SHOWN, "annotator": TEXTS, "time": SECONDS, "seconds": SECONDS}
ABOUT |= {"order_seed": st.none() | st.integers(0, 2**31 - 1)}
ONE: dict[str, Any] = {"generators": st.sampled_from([(), ("g",)]), "response": TEXTS, **ABOUT}
RANKS = st.sampled_from([(1, 2, 3), (3, 1, 2), (1, 1, 1), (2, 1, 1)])
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Comparison,
        response_a=TEXTS,
        response_b=TEXTS,
        choice=st.sampled_from(["a", "b", "tie", "both_bad"]),
        generators=st.sampled_from([(), ("g", "h")]),
        **ABOUT,
    ),
    st.builds(Ranking, responses=st.tuples(TEXTS, TEXTS, TEXTS), ranks=RANKS, **ABOUT),
    st.builds(Rating, rating=st.integers(1, 5), criteria=st.dictionaries(TEXTS, st.integers(1, 5), max_size=2), **ONE),
    st.builds(Demonstration, edited_from=st.none() | TEXTS, **ONE),
    st.builds(
        ImplicitFeedback,
        position=st.integers(0, 9),
        clicked=st.booleans(),
        dwell_seconds=st.floats(0, 1e6),
        scrolled=st.floats(0, 1),
        copied=st.booleans(),
        **ONE,
    ),
)
RECORD = Comparison("k", "p", "one", "two", "b", annotator="ann")
RATING = Rating("k", "p", "text", 4, criteria={"faithful": 2})


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_files_lose_nothing(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records
    path.read_text(encoding="utf-8")  # other programs can read it, too


def test_a_packed_file_is_packed_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_records(tmp_path / name, [RECORD, RATING])
    packed = (tmp_path / "one.jsonl.gz").read_bytes()
    assert packed == (tmp_path / "two.jsonl.gz").read_bytes()
    assert packed.startswith(b"\x1f\x8b")
    assert read_records(tmp_path / "one.jsonl.gz") == [RECORD, RATING]


def test_a_line_by_hand(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [RATING])
    assert json.loads((tmp_path / "r.jsonl").read_text()) == {
        "kind": "rating",
        "task_key": "k",
        "prompt": "p",
        "annotator": "anonymous",
        "generators": [],
        "time": None,
        "seconds": None,
        "order_seed": None,
        "response": "text",
        "rating": 4,
        "criteria": {"faithful": 2},
    }


def test_a_conversation_by_hand(tmp_path: Path) -> None:
    turns = (Message("user", "Guess."), Message("assistant", "Five."), Message("user", "No."))
    write_records(tmp_path / "r.jsonl", [replace(RATING, prompt=turns)])
    assert json.loads((tmp_path / "r.jsonl").read_text())["prompt"] == [
        {"role": "user", "content": "Guess."},
        {"role": "assistant", "content": "Five."},
        {"role": "user", "content": "No."},
    ]


def test_a_conversation_that_an_earlier_version_wrote_as_lines_comes_back_as_messages(tmp_path: Path) -> None:
    """Its text, by which records are split, is the one that it was written as."""
    text = "System: Be brief.\nUser: Guess.\nAssistant: Five.\nUser: No."
    row = {"kind": "rating", "task_key": "k", "prompt": text, "response": "text", "rating": 4}
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    (record,) = read_records(tmp_path / "r.jsonl")
    turns = (("system", "Be brief."), ("user", "Guess."), ("assistant", "Five."), ("user", "No."))
    assert record.prompt == tuple(Message(*turn) for turn in turns)
    assert shown_text(record.prompt) == text


@pytest.mark.parametrize(
    "text", ["User: who is that?", "User: Guess.\nAssistant: Five.\nUser: No.", "Assistant: x", "a\nUser: b"]
)
def test_documents_that_look_like_conversations_come_back_as_texts(tmp_path: Path, text: str) -> None:
    written: list[Record] = [replace(RATING, prompt=text), replace(RATING, prompt=(Message("user", "Hi"),))]
    write_records(tmp_path / "r.jsonl", written)
    assert read_records(tmp_path / "r.jsonl") == written
    question = Question("k", text, ("x", "y"))
    assert question_from_json(json.loads(json.dumps(question_to_json(question)))) == question


def test_other_texts_of_earlier_versions_stay_texts(tmp_path: Path) -> None:
    texts = ["User: a document", "Assistant: x\nSystem: y", "\n\nHuman: Hi\n\nAssistant:", "User: x\nAssistant:  y "]
    rows = [{"kind": "rating", "task_key": "k", "prompt": text, "response": "x", "rating": 4} for text in texts]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [record.prompt for record in read_records(tmp_path / "r.jsonl")] == texts


@pytest.mark.parametrize("prompt", [(), ("Hi",), [Message("user", "Hi"), "No"], None])
def test_a_prompt_is_a_text_or_messages(prompt: Any) -> None:
    for make in (lambda: replace(RATING, prompt=prompt), lambda: Question("k", prompt, ("x", "y"))):
        with pytest.raises(ValueError, match="expected a text or a tuple of messages as the prompt"):
            make()


def test_what_is_missing_is_the_default_and_what_nobody_knows_is_passed_over(tmp_path: Path) -> None:
    row = {"kind": "rating", "task_key": "k", "prompt": "p", "response": "text", "rating": 4, "new": [1]}
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    assert read_records(tmp_path / "r.jsonl") == [replace(RATING, criteria={})]


def test_awkward_texts_stay_on_one_line(tmp_path: Path) -> None:
    record = replace(RECORD, prompt='line\nnext\r\n "quoted" \u2028 \x00 \ud83d é 日本', response_a="")
    write_records(tmp_path / "new" / "r.jsonl", [record, RECORD])
    assert read_records(tmp_path / "new" / "r.jsonl") == [record, RECORD]
    assert (tmp_path / "new" / "r.jsonl").read_bytes().count(b"\n") == 2
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.jsonl"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [RECORD])
    with pytest.raises(TypeError):
        write_records(path, [RECORD, None])  # type: ignore[list-item]
    assert read_records(path) == [RECORD]
    assert list(tmp_path.iterdir()) == [path]


def test_comparisons_without_a_kind_are_read(tmp_path: Path) -> None:
    row = {"task_key": "k", "prompt": "p", "response_a": "one", "response_b": "two", "choice": "b", "annotator": "ann"}
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    assert read_comparisons(tmp_path / "r.jsonl") == read_records(tmp_path / "r.jsonl") == [RECORD]


def test_only_comparisons_where_only_they_are_wanted(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [RECORD, RATING])
    with pytest.raises(DataError, match=r"r\.jsonl:2: expected a comparison, got a rating"):
        read_comparisons(tmp_path / "r.jsonl")


def rating(**changes: object) -> str:
    return json.dumps({"kind": "rating", "task_key": "k", "prompt": "p", "response": "r", "rating": 3} | changes)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{not json", "one JSON object per line"),
        ("[1, 2]", "expected a JSON object, got list"),
        ("[" * 100_000, "one JSON object per line"),
        (
            json.dumps({"prompt": "p", "chosen": [{"role": "user", "content": "c"}]}),
            "'chosen': expected an assistant message, got none",
        ),
        ('{"prompt": "p"}', "expected 'task_key' of a comparison, got only prompt"),
        (json.dumps({"prompt": "p", "chosen": "c", "rejected": 3}), "'rejected', got int"),
        (
            json.dumps({"task_key": "k", "prompt": "p", "response_a": "x", "response_b": "y", "choice": "c"}),
            "'tie' or 'both_bad', got 'c'",
        ),
        (
            json.dumps({"prompt": "p", "responses": ["x", "y"], "overlap": 1}),
            "got a question, not its answers; .* with --form votes or --form records",
        ),
        (rating(kind="ratings"), "Did you mean 'rating'"),
        (rating(kind=[]), r"known kind of record, got \[\]"),
        (rating(rating=6), "from 1 to 5 as rating, got 6"),
        (rating(rating=True), "a whole number as 'rating', got True"),
        (rating(rating=3.5), "a whole number as 'rating', got 3.5"),
        (rating(criteria={"faithful": 0}), "from 1 to 5 as faithful, got 0"),
        (rating(criteria=[3]), "an object of whole numbers as 'criteria', got list"),
        (rating(response=None), "a text as 'response', got NoneType"),
        (rating(generators="g"), "a list of texts as 'generators', got str"),
        (rating(generators=["g", "h"]), "one generator for each of 1 responses or none at all, got 2"),
        (rating(time=float("nan")), "finite time, got nan"),
        (rating(time=10**400), "a number or null as 'time'"),
        (rating(seconds=-1), "seconds of 0 or more, got -1"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [RECORD])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"r\.jsonl:3: .*{complaint}"):
        read_records(path)


def test_a_table_for_spreadsheets_is_refused(tmp_path: Path) -> None:
    export_records([RECORD], tmp_path / "r.csv", "csv")
    with pytest.raises(DataError, match=r"r\.csv:1: expected JSON lines, got a table .* with --form votes or --form r"):
        read_records(tmp_path / "r.csv")


@pytest.mark.parametrize("read", [read_records, read_comparisons])
def test_files_without_records_are_refused(tmp_path: Path, read: Any) -> None:
    (tmp_path / "r.jsonl").write_text("\n \n")
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(b""))
    for name in ("r.jsonl", "r.jsonl.gz"):
        with pytest.raises(DataError, match=rf"got none in '.*{name}': it is empty"):
            read(tmp_path / name)


def test_checks_alone_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps({**json.loads(rating()), "vote": "v", "check": True}))
    with pytest.raises(DataError, match=r"r\.jsonl': .* checks of attention"):
        read_records(tmp_path / "r.jsonl")


def test_packed_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [RECORD, RATING])
    raw = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(raw)
    packed = tmp_path / "r.jsonl.gz"
    packed.write_bytes(gzip.compress(raw))
    assert read_records(path) == read_records(str(packed)) == [RECORD, RATING]


@pytest.mark.parametrize("line", [b'{"prompt": "\xff"}', '{"prompt": "p"}'.encode("utf-16")])
def test_bytes_that_are_not_utf8_name_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [RECORD])
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DataError, match=r"r\.jsonl:2: expected UTF-8 text.*save the file as UTF-8"):
        read_records(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = tmp_path / "r.jsonl.gz"
    packed.write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    with pytest.raises(DataError, match=r"r\.jsonl\.gz'.*make it again"):
        read_records(packed)
    with pytest.raises(DataError, match="expected a readable file"):
        read_records(tmp_path)
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_records(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Comparison("k", "p", "x", "y", "c"), "both_bad', got 'c'"),  # type: ignore[arg-type]
        (lambda: Ranking("k", "p", ("x", "y"), (1,)), "2 responses and 1 ranks"),
        (lambda: Ranking("k", "p", ("x",), (1,)), "1 responses and 1 ranks"),
        (lambda: Ranking("k", "p", ("x", "y"), (1, 3)), r"ranks from 1 \(the best\) to 2, got \(1, 3\)"),
        (lambda: Ranking("k", "p", ("x", "y"), (2, 2)), r"ranks from 1 \(the best\) to 2, got \(2, 2\)"),
        (lambda: Rating("k", "p", "x", 0), "1 to 5 as rating, got 0"),
        (lambda: ImplicitFeedback("k", "p", "x", -1, True, 1.0), "position of 0 or more, got -1"),
        (lambda: ImplicitFeedback("k", "p", "x", 0, True, float("nan")), "dwell_seconds of 0 or more, got nan"),
        (lambda: ImplicitFeedback("k", "p", "x", 0, True, 1.0, scrolled=1.1), r"\[0, 1\], got 1.1"),
        (lambda: Demonstration("k", "p", "x", generators=("g", "h")), "got 2"),
        (lambda: Question("k", "p", ("x",)), "expected 2 to 2 responses to compare, got 1"),
        (lambda: Question("k", "p", ("x",), "like"), "expected a mode out of compare"),  # type: ignore[arg-type]
    ],
)
def test_records_that_cannot_be_right_are_refused(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_the_shown_order_is_written_in_stone() -> None:
    """Stored seeds must mean the same in later versions."""
    assert [shown_order(4, seed) for seed in (0, 1, 2)] == [(3, 2, 0, 1), (2, 3, 0, 1), (2, 1, 3, 0)]
    assert shown_order(4, None) == (0, 1, 2, 3)
    assert shown_order(0, 7) == ()


def test_all_orders_are_equally_likely() -> None:
    counts = Counter(shown_order(3, seed) for seed in range(6000))
    assert len(counts) == 6
    # 1000 each, standard deviation 29
    assert all(850 < count < 1150 for count in counts.values())
