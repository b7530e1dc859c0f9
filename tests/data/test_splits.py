"""Files of different columns in one folder: references are found per file, and no prompt is in two splits."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.data import DataWarning, InMemoryDataset, load_examples
from textgym.data.dataset import prompt_digest, split_of
from textgym.errors import DataError
from textgym.types import Split

TRAIN_TEXTS = [text for text in (f"Talk {i} of two." for i in range(200)) if split_of(prompt_digest(text)) == "train"]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_json(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def load(data: Path, split: Split = "train", **columns: str) -> InMemoryDataset:
    dataset = load_examples(data, split, **columns)
    assert isinstance(dataset, InMemoryDataset)
    return dataset


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    """Dialogues with one summary each to train on, and three to test on, more rows than a guess looks at."""
    rows = [[f"train_{i}", text, f"Two talk, {i}.", "small talk"] for i, text in enumerate(TRAIN_TEXTS)]
    write_csv(tmp_path / "train.csv", ["id", "dialogue", "summary", "topic"], rows)
    tests = [[f"test_{i}", f"Chat {i} of three.", f"a {i}", f"b {i}", f"c {i}" * (i % 2)] for i in range(130)]
    write_csv(tmp_path / "test.csv", ["id", "dialogue", "summary1", "summary2", "summary3"], tests)
    return tmp_path


@pytest.mark.parametrize("columns", [{}, {"prompt_column": "dialogue"}, {"reference_column": "summary"}])
def test_columns_are_found_per_file(dialogues: Path, columns: dict[str, str]) -> None:
    train, test = load(dialogues, **columns), load(dialogues, "test", **columns)
    assert [example.references for example in train] == [(f"Two talk, {i}.",) for i in range(len(TRAIN_TEXTS))]
    assert [example.references for example in test] == [
        (f"a {i}", f"b {i}", f"c {i}") if i % 2 else (f"a {i}", f"b {i}") for i in range(130)
    ]
    assert train[0].extra == {"id": "train_0", "topic": "small talk"}
    assert train.report.skipped == test.report.skipped == {}


def test_what_differs_between_the_splits_is_said(dialogues: Path) -> None:
    assert load(dialogues).report.remarks == (
        "test: prompts from dialogue, references from summary1, summary2, summary3",
        "train: prompts from dialogue, references from summary; text columns not used: topic",
    )


@pytest.mark.parametrize("home", ["test", "validation"])
@pytest.mark.parametrize(
    "columns", [{}, {"reference_column": "summary"}, {"prompt_column": "text", "reference_column": "summary"}]
)
@pytest.mark.parametrize("test_row", [{}, {"summary": None}, {"summary": " "}, {"summary": 3}])
def test_a_row_without_a_reference_keeps_its_prompt_out_of_train(
    tmp_path: Path, home: str, columns: dict[str, str], test_row: dict[str, Any]
) -> None:
    train = [{"text": text, "summary": f"s {i}"} for i, text in enumerate(TRAIN_TEXTS[:6])]
    write_json(tmp_path / "train.jsonl", train)
    answered = [{"text": "other", "summary": "s"}] if test_row else []
    write_json(tmp_path / f"{home}.jsonl", [*answered, *({"text": row["text"], **test_row} for row in train[:2])])
    with pytest.warns(DataWarning, match="2 in another split"):
        dataset = load(tmp_path, **columns)
    assert [example.prompt for example in dataset] == TRAIN_TEXTS[2:6]
    assert dataset.report.skipped["in another split"] == 2
    assert dataset.report.rows_read == len(answered) + 8


def test_test_rows_without_the_named_references_are_prompts_of_the_test_split(tmp_path: Path) -> None:
    write_json(tmp_path / "train.jsonl", [{"text": text, "gist": "s"} for text in TRAIN_TEXTS[:3]])
    write_json(tmp_path / "test.jsonl", [{"text": "other"}])
    assert load(tmp_path, reference_column="gist").report.skipped == {}
    with pytest.raises(DataError, match="expected reference_column to name a column of the data, got 'gist'"):
        load(tmp_path, "test", reference_column="gist")
    assert [example.references for example in load(tmp_path, "test")] == [()]


def test_every_split_must_have_the_named_prompts(tmp_path: Path) -> None:
    """Otherwise nobody could say which prompts of the test rows are in train."""
    write_json(tmp_path / "train.jsonl", [{"ticket": text} for text in TRAIN_TEXTS[:3]])
    write_json(tmp_path / "test.jsonl", [{"tickets": TRAIN_TEXTS[0]}])
    with pytest.raises(DataError, match="prompt_column to name a column of the test rows, got 'ticket'"):
        load(tmp_path, prompt_column="ticket")


@pytest.mark.parametrize("blank", [None, "", []])
def test_tests_published_without_answers_are_prompts(tmp_path: Path, blank: object) -> None:
    write_json(tmp_path / "train.jsonl", [{"question": text, "answer": f"so {text}"} for text in TRAIN_TEXTS[:3]])
    write_json(tmp_path / "test.jsonl", [{"question": f"q {i}", "answer": blank} for i in range(4)])
    test = load(tmp_path, "test")
    assert [(example.prompt, example.references) for example in test] == [(f"q {i}", ()) for i in range(4)]
    assert test.report.skipped == {}
    assert "references from answer (blank so far)" in test.report.remarks[0]
    assert len(load(tmp_path)) == 3
    with pytest.raises(DataError, match=r"at least one usable row in .*, got none"):
        load(tmp_path, "test", reference_column="answer")


def test_rows_without_an_answer_are_left_out_where_a_later_row_has_one(tmp_path: Path) -> None:
    write_json(tmp_path / "train.jsonl", [{"question": text, "answer": "so"} for text in TRAIN_TEXTS[:3]])
    rows = [{"question": f"q {i}", "answer": "so" if i == 120 else None} for i in range(130)]
    write_json(tmp_path / "test.jsonl", rows)
    with pytest.warns(DataWarning, match="129 not a string"):
        assert [example.prompt for example in load(tmp_path, "test")] == ["q 120"]


def test_files_of_one_split_with_the_same_columns_are_read_alike(tmp_path: Path) -> None:
    """Although the answers of the second file alone would be taken for labels."""
    write_json(tmp_path / "train-0.jsonl", [{"question": t, "answer": f"so {t}"} for t in TRAIN_TEXTS[:30]])
    write_json(tmp_path / "train-1.jsonl", [{"question": t, "answer": "yes"} for t in TRAIN_TEXTS[30:60]])
    write_json(tmp_path / "train-2.jsonl", [{"question": t, "answer": "ab"[len(t) % 2]} for t in TRAIN_TEXTS[60:90]])
    assert all(example.references for example in load(tmp_path))


def test_rows_after_many_broken_ones_are_still_read(tmp_path: Path) -> None:
    lines = ["broken"] * 150 + [json.dumps({"text": text}) for text in TRAIN_TEXTS[:2]]
    (tmp_path / "set.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(DataWarning, match="150 wrong JSON"):
        assert [example.prompt for example in load(tmp_path / "set.jsonl")] == TRAIN_TEXTS[:2]


_ROWS = st.lists(
    st.fixed_dictionaries(
        {"question": st.sampled_from(TRAIN_TEXTS[:5])},
        optional={"answer": st.sampled_from(["so it is", "who knows", " ", None, 3])},
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(train=_ROWS, validation=_ROWS, test=_ROWS, reference_column=st.sampled_from([None, "answer"]))
def test_no_prompt_is_ever_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[Any],
    validation: list[Any],
    test: list[Any],
    reference_column: str | None,
) -> None:
    """Not even where no row of the test file can be used; and every row is counted."""
    folder = tmp_path_factory.mktemp("splits")
    files = {"test": test, "validation": validation, "train": train}
    for name, rows in files.items():
        write_json(folder / f"{name}.jsonl", rows)
    taken: set[object] = set()
    read = 0
    for split, rows in files.items():
        read += len(rows)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                dataset = load_examples(folder, split, reference_column=reference_column)  # type: ignore[call-overload]
        except DataError:
            dataset = None
        if dataset is not None:
            assert taken.isdisjoint(example.prompt for example in dataset)
            report = dataset.report
            assert read == report.rows_read == report.rows_kept + report.duplicates + sum(report.skipped.values())
        taken |= {row["question"] for row in rows}
