"""Records of comparisons: files, rows, splits."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.errors import DataError
from textgym.feedback import (
    from_preference_rows,
    make_questions,
    read_comparisons,
    split_comparisons,
    to_preference_rows,
    write_comparisons,
    write_preference_rows,
)
from textgym.types import Comparison, Question

TEXTS = st.text(st.characters(exclude_categories=[]))
RECORDS = st.builds(Comparison, TEXTS, TEXTS, TEXTS, TEXTS, st.sampled_from(["a", "b", "tie"]), TEXTS)
RECORD = Comparison("k", "p", "one", "two", "b", "ann")


def many(prompts: int, per_prompt: int = 3) -> list[Comparison]:
    return [Comparison(f"k{i}", f"prompt {i}", "x", "y", "a") for i in range(prompts) for _ in range(per_prompt)]


@given(st.lists(RECORDS, max_size=5))
def test_files_lose_nothing(tmp_path_factory: pytest.TempPathFactory, records: list[Comparison]) -> None:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    write_comparisons(path, records)
    assert read_comparisons(path) == records


def test_awkward_texts_stay_on_one_line(tmp_path: Path) -> None:
    record = replace(RECORD, prompt='line\nnext\r\n "quoted" \u2028 \x00 \ud83d é 日本', response_a="")
    write_comparisons(tmp_path / "new" / "r.jsonl", [record, RECORD])
    assert read_comparisons(tmp_path / "new" / "r.jsonl") == [record, RECORD]
    assert (tmp_path / "new" / "r.jsonl").read_bytes().count(b"\n") == 2
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.jsonl"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_comparisons(path, [RECORD])
    with pytest.raises(TypeError):
        write_comparisons(path, [RECORD, None])  # type: ignore[list-item]
    assert read_comparisons(path) == [RECORD]
    assert list(tmp_path.iterdir()) == [path]


def test_rows_name_the_better_text_and_leave_ties_out() -> None:
    rows = to_preference_rows([RECORD, replace(RECORD, choice="tie"), replace(RECORD, choice="a")])
    assert rows == [
        {"prompt": "p", "chosen": "two", "rejected": "one"},
        {"prompt": "p", "chosen": "one", "rejected": "two"},
    ]


def test_rows_come_back_as_records(tmp_path: Path) -> None:
    write_preference_rows(tmp_path / "r.jsonl", [RECORD])
    (record,) = read_comparisons(tmp_path / "r.jsonl")
    assert (record.prompt, record.chosen, record.rejected) == ("p", "two", "one")
    assert from_preference_rows(to_preference_rows([RECORD])) == [record]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{not json", "one JSON object per line"),
        ("[1, 2]", "expected a JSON object, got list"),
        ("[" * 100_000, "one JSON object per line"),
        (
            json.dumps({"prompt": "p", "chosen": [{"role": "user", "content": "c"}]}),
            "'chosen', got list; give a string",
        ),
        ('{"prompt": "p"}', "'task_key', got only prompt"),
        (json.dumps({"prompt": "p", "chosen": "c", "rejected": 3}), "'rejected', got int"),
        (
            json.dumps({"task_key": "k", "prompt": "p", "response_a": "x", "response_b": "y", "choice": "c"}),
            "'a', 'b' or 'tie', got 'c'",
        ),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "r.jsonl"
    write_comparisons(path, [RECORD])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataError, match=rf"r\.jsonl:3: .*{complaint}"):
        read_comparisons(path)


def test_packed_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_comparisons(path, [RECORD, RECORD])
    raw = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(raw)
    packed = tmp_path / "r.jsonl.gz"
    packed.write_bytes(gzip.compress(raw))
    assert read_comparisons(path) == read_comparisons(str(packed)) == [RECORD, RECORD]


@pytest.mark.parametrize("line", [b'{"prompt": "\xff"}', '{"prompt": "p"}'.encode("utf-16")])
def test_bytes_that_are_not_utf8_name_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "r.jsonl"
    write_comparisons(path, [RECORD])
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DataError, match=r"r\.jsonl:2: expected UTF-8 text.*save the file as UTF-8"):
        read_comparisons(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = tmp_path / "r.jsonl.gz"
    packed.write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    with pytest.raises(DataError, match=r"r\.jsonl\.gz'.*make it again"):
        read_comparisons(packed)
    with pytest.raises(DataError, match="expected a readable file"):
        read_comparisons(tmp_path)
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_comparisons(tmp_path / "none.jsonl")


def test_questions_keep_the_order() -> None:
    questions = make_questions(["p", "q"], ["k", "l"], ["a1", "a2"], ["b1", "b2"])
    assert questions == [Question("k", "p", "a1", "b1"), Question("l", "q", "a2", "b2")]
    with pytest.raises(ValueError, match="got 1 prompts, 2 keys"):
        make_questions(["p"], ["k", "l"], ["a1"], ["b1"])


def test_no_prompt_is_on_both_sides() -> None:
    train, held_out = split_comparisons(many(500), 0.2)
    assert not {record.prompt for record in train} & {record.prompt for record in held_out}
    assert len(train) + len(held_out) == 1500
    assert len({record.prompt for record in held_out}) == pytest.approx(100, abs=30)


def test_split_ignores_order_and_survives_growth() -> None:
    _, some = split_comparisons(many(100))
    _, more = split_comparisons(many(200)[::-1])
    assert {record.prompt for record in some} <= {record.prompt for record in more}
    assert split_comparisons(many(100), seed=1)[1] != some


@pytest.mark.parametrize("share", [1e-6, 0.5, 1 - 1e-6])
def test_two_prompts_give_two_sides(share: float) -> None:
    train, held_out = split_comparisons(many(2), share)
    assert (len(train), len(held_out)) == (3, 3)


def test_nothing_is_held_out_of_one_prompt_or_on_request() -> None:
    assert split_comparisons(many(9), 0.0)[1] == []
    assert split_comparisons([], 0.1) == ([], [])
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1"):
        split_comparisons(many(9), 1.0)
