"""Data sets by name: columns, splits, merging, and errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.data import DataWarning, InMemoryDataset, load_examples
from textgym.data.dataset import LoadReport, describe_split, prompt_digest, split_of
from textgym.data.fingerprint import fingerprint
from textgym.errors import DataError
from textgym.tasks.summarization.reports import Reports
from textgym.types import SPLITS, Example, Message, Split


def write_rows(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {i}", "summary": f"summary {i}", **more} for i in range(count)]


def prompts_in(split: Split, count: int) -> list[str]:
    """Return prompts that the hash puts into ``split``."""
    found = [text for text in (f"text {i}" for i in range(40 * count)) if split_of(prompt_digest(text)) == split]
    return found[:count]


def load(data: str | Path, split: Split = "train", **columns: str) -> InMemoryDataset:
    dataset = load_examples(data, split, **columns)
    assert isinstance(dataset, InMemoryDataset)
    return dataset


# --- splits and keys


def test_hash_and_split_of_a_prompt_never_change() -> None:
    assert prompt_digest("prompt 0") == "1df4d9375a13909e"
    assert [split_of(f"{i:x}") for i in (0, 7, 8, 9, 17, 18)] == [
        *("train", "train", "validation", "test", "train", "validation")
    ]


def test_splits_are_80_10_10_disjoint_and_complete(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", numbered(2000))
    keys = {split: {example.key for example in load(data, split)} for split in SPLITS}
    assert sum(map(len, keys.values())) == len(set.union(*keys.values())) == 2000
    assert len(keys["train"]) == pytest.approx(1600, abs=60)
    assert len(keys["test"]) == pytest.approx(200, abs=45)


def test_file_named_test_is_still_cut_by_hash(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "test.jsonl", numbered(200))
    assert 0 < len(load(data, "train")) < 200


def test_keys_name_the_set_and_the_prompt_only(tmp_path: Path) -> None:
    rows = numbered(50)
    first = load(write_rows(tmp_path / "set.jsonl", rows))
    again = load(write_rows(tmp_path / "set.jsonl", rows[::-1] + numbered(60)[50:]))
    assert {example.key for example in first} <= {example.key for example in again}
    assert all(example.key == f"set/{prompt_digest(example.prompt)}" for example in first)


def test_tiny_file_gives_advice(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"prompt": prompts_in("train", 1)[0], "summary": "s"}])
    assert len(load(data)) == 1
    with pytest.raises(DataError, match=r"validation split of 'set', got none.*Add rows, or give a folder"):
        load(data, "validation")


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        load_examples("docstrings", "validatoin")  # type: ignore[arg-type]


def test_folder_with_split_files(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_rows(tmp_path / "set" / "train-00000-of-00001.jsonl", [{"prompt": f"a{i}", "summary": "s"} for i in range(9)])
    write_rows(tmp_path / "set" / "dev.jsonl", [{"prompt": "b", "summary": "s"}])
    write_rows(tmp_path / "set" / "test.jsonl", [{"prompt": "c", "summary": "s"}, {"prompt": "b", "summary": "s"}])
    folder = str(tmp_path / "set")
    assert [example.prompt for example in load(folder, "test")] == ["c", "b"]
    with pytest.warns(DataWarning, match="1 in another split"):
        train = load(folder)
    assert [example.prompt for example in train] == [f"a{i}" for i in range(9)]


def test_prompt_of_the_test_file_is_no_training_prompt(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [{"prompt": "a", "summary": "s"}])
    write_rows(tmp_path / "train.jsonl", [{"prompt": p, "summary": "s"} for p in ("a", *prompts_in("train", 3))])
    with pytest.warns(DataWarning, match="1 in another split"):
        train = load(str(tmp_path))
    assert [example.prompt for example in train] == prompts_in("train", 3)


def test_missing_split_file_is_cut_out_of_train(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", numbered(300))
    write_rows(tmp_path / "test.jsonl", [{"prompt": "x", "summary": "s"}])
    folder = str(tmp_path)
    train, validation = load(folder), load(folder, "validation")
    assert len(train) + len(validation) == 300
    assert {split_of(prompt_digest(example.prompt)) for example in validation} == {"validation"}
    assert len(load(folder, "test")) == 1


def test_folder_without_split_names_is_cut_as_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "part1.jsonl", numbered(100))
    write_rows(tmp_path / "part2.jsonl", [{"prompt": f"other {i}", "summary": "s"} for i in range(100)])
    assert sum(len(load(str(tmp_path), split)) for split in SPLITS) == 200


def test_files_of_no_split_are_left_out_with_a_warning(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", numbered(30))
    write_rows(tmp_path / "extra.jsonl", numbered(60))
    with pytest.warns(DataWarning, match=r"ignored: .*extra\.jsonl"):
        assert load(str(tmp_path)).report.rows_read == 30


def test_files_of_no_split_are_not_all_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", numbered(30))
    for number in range(8):
        write_rows(tmp_path / f"part{number}.jsonl", numbered(1))
    with pytest.warns(DataWarning, match=r"part0\.jsonl, .*part4\.jsonl and 3 more$"):
        load(str(tmp_path))


def test_no_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "train.jsonl", numbered(30))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"expected one of docstrings, .* got ''"):
        load("")


def test_folder_with_a_test_file_only_cannot_train(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", numbered(30))
    with pytest.raises(DataError, match=r"got test\. Add a file train\.jsonl"):
        load(str(tmp_path))


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected files ending in \.jsonl"):
        load(str(tmp_path))


# --- merging and reporting


def test_same_prompt_is_merged_and_repeated_rows_are_dropped(tmp_path: Path) -> None:
    prompt = prompts_in("train", 1)[0]
    rows = [{"prompt": prompt, "summary": text} for text in ("one", "two", " one ", "one")]
    dataset = load(write_rows(tmp_path / "set.jsonl", rows))
    assert list(dataset) == [Example(f"set/{prompt_digest(prompt)}", prompt, ("one", "two"))]
    assert dataset.report == LoadReport(4, 2, 2)


def test_bad_rows_are_counted_reported_and_warned_of_once(tmp_path: Path) -> None:
    good = prompts_in("train", 2)
    rows = [
        {"prompt": good[0], "summary": "s"},
        {"prompt": "a"},
        {"prompt": 3, "summary": "s"},
        {"prompt": " \n", "summary": "s"},
        {"prompt": "b", "summary": []},
        {"prompt": "\ud800", "summary": "s"},
        ["prompt"],
        {"prompt": good[1], "summary": "s"},
    ]
    path = write_rows(tmp_path / "set.jsonl", rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(path)
    assert [example.prompt for example in dataset] == good
    kinds = {"missing column": 1, "not a string": 1, "empty": 2, "broken encoding": 1, "not an object": 1}
    assert dataset.report.skipped == kinds
    assert [problem.split(": ")[0] for problem in dataset.report.problems] == [f"{path}:{n}" for n in range(2, 8)]
    assert [warning.category for warning in caught] == [DataWarning]
    assert "8 rows read, 2 kept, 0 duplicates, 6 skipped" in str(caught[0].message)


def test_nothing_usable_shows_the_first_problems(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"prompt": "", "summary": "s"}] * 30)
    with pytest.raises(DataError, match=r"got none \(30 rows read.*\n  .*set\.jsonl:1: empty") as caught:
        load(data)
    assert len(str(caught.value).splitlines()) == 6


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_empty_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "set.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="got an empty data set"):
        load(str(tmp_path / "set.jsonl"))


# --- columns


def test_prompt_is_kept_as_it_is_and_references_are_stripped(tmp_path: Path) -> None:
    prompt = next(text for i in range(99) if split_of(prompt_digest(text := f"  text {i}\n")) == "train")
    example = load(write_rows(tmp_path / "set.jsonl", [{"text": prompt, "highlights": " short\n"}]))[0]
    assert (example.prompt, example.references) == (prompt, ("short",))


def test_named_columns_win_over_guesses(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{**row, "title": f"t {row['prompt']}"} for row in numbered(30)])
    dataset = load(data, prompt_column="summary", reference_column="title")
    assert all(example.prompt.startswith("summary") for example in dataset)
    assert all(example.references[0].startswith("t prompt") for example in dataset)


def test_without_a_reference_column_there_are_no_references(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"document": f"d {i}", "label": 3} for i in range(30)])
    assert {example.references for example in load(data)} == {()}


def test_reference_column_that_starts_empty_is_still_one(tmp_path: Path) -> None:
    rows = [{"prompt": f"prompt {i}", "summary": None if i < 100 else "s"} for i in range(150)]
    rows = [{**row, "target": 1} for row in rows]
    path = write_rows(tmp_path / "set.jsonl", rows)
    with pytest.warns(DataWarning, match=r"100 not a string.*First: .*set\.jsonl:1: .*column 'summary', got NoneType"):
        dataset = load(path)
    assert {example.references for example in dataset} == {("s",)}
    assert dataset.report.skipped == {"not a string": 100}


@pytest.mark.parametrize(
    ("more", "references"),
    [
        ({"answer": 42}, ()),
        ({"target": [1, 2]}, ()),
        ({"answer": 42, "output": True}, ()),
        ({"summary": "s", "response": None}, ("s",)),
        ({"summary": "s", "target": 1, "text": None, "body": 3}, ("s",)),
        ({"summary": ["s", "t"], "output": []}, ("s", "t")),
        ({"response": None, "completion": ""}, ()),
    ],
)
def test_columns_without_text_are_no_candidates(
    tmp_path: Path, more: dict[str, Any], references: tuple[str, ...]
) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"question": f"q {i}", **more} for i in range(30)])
    assert {example.references for example in load(data)} == {references}


def test_named_reference_column_of_numbers_is_an_error(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"document": f"d {i}", "target": 1} for i in range(30)])
    with pytest.raises(DataError, match=r"with prompt_column=.*\n.*jsonl:1: not a string: .*'target', got int"):
        load(data, reference_column="target")


def test_several_references_in_a_list(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", [{"article": t, "reference": ["a", "b"]} for t in prompts_in("train", 2)])
    assert load(data)[1].references == ("a", "b")


@pytest.mark.parametrize(
    ("row", "options", "what"),
    [
        (
            {"sumary": "a", "doc": "b"},
            {},
            r"several columns of text, none with a known name\. Name the one to use with prompt_column.*"
            r"columns are: sumary \('a'\), doc \('b'\)\.$",
        ),
        ({"prompt": 3}, {}, r"expected a column of prompts in .*, got no column of text\. .* prompt \(3\)\.$"),
        ({"text": "a", "document": "b"}, {}, "one candidate for prompt_column, got document, text"),
        ({"text": "a", "answer": "b", "output": "c"}, {}, "one candidate for reference_column, got answer, output"),
        (
            {"text": "a", "id": 3},
            {"prompt_column": "txt"},
            r"got 'txt'\. Did you mean 'text'\? The columns are: id, text\.$",
        ),
        ({"text": "a", "id": 3}, {"reference_column": "abstract"}, r"'abstract'\. The columns are: id, text\.$"),
    ],
)
def test_column_mistakes(tmp_path: Path, row: dict[str, str], options: dict[str, str], what: str) -> None:
    with pytest.raises(DataError, match=what):
        load(write_rows(tmp_path / "set.jsonl", [row] * 3), "train", **options)


def test_chat_column(tmp_path: Path) -> None:
    prompt = prompts_in("train", 1)[0]
    user, answer = {"role": "user", "content": prompt}, {"role": "assistant", "content": " Fine. "}
    example = load(write_rows(tmp_path / "set.jsonl", [{"messages": [user, answer]}]))[0]
    assert (example.prompt, example.references) == (prompt, ("Fine.",))


def test_prompt_and_completion_as_chats(tmp_path: Path) -> None:
    prompt = prompts_in("train", 1)[0]
    row = {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": "Fine."}],
    }
    example = load(write_rows(tmp_path / "set.jsonl", [row]))[0]
    assert (example.prompt, example.references) == (prompt, ("Fine.",))


@pytest.mark.parametrize("column", ["messages", "prompt", "conversations"])
def test_conversations_keep_their_messages(tmp_path: Path, column: str) -> None:
    """They reach a model's chat template as they are, whatever their column is called and whichever form they have."""
    names = ("from", "value") if column == "conversations" else ("role", "content")
    turns = [
        ("system", "Be brief."),
        ("user", "Hi {i}"),
        ("assistant", "Yes?"),
        ("user", "Go on\n"),
        ("assistant", "So."),
    ]
    chats = [[dict(zip(names, (role, text.format(i=i)), strict=True)) for role, text in turns] for i in range(40)]
    dataset = load(write_rows(tmp_path / "chats.jsonl", [{column: chat} for chat in chats]))
    for example in dataset:
        assert isinstance(example.prompt, tuple)
        number = example.prompt[1].content.split()[-1]
        expected = tuple(Message(role, text.format(i=number)) for role, text in turns[:4])
        assert example.prompt == expected
        assert example.text == f"System: Be brief.\nUser: Hi {number}\nAssistant: Yes?\nUser: Go on"
        assert example.references == ("So.",)


def test_one_message_of_the_user_is_plain_text(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "x"}
    rows = [{"messages": [{"role": "user", "content": f"Hi {i}"}, answer]} for i in range(40)]
    dataset = load(write_rows(tmp_path / "chats.jsonl", rows))
    assert all(example.prompt == example.text for example in dataset)


def test_broken_chats_are_skipped(tmp_path: Path) -> None:
    good = [{"role": "user", "content": prompts_in("train", 1)[0]}]
    rows = [{"messages": good}, {"messages": [{"role": "user"}]}, {"messages": []}, {"messages": [{}]}]
    with pytest.warns(DataWarning, match="2 wrong messages"):
        dataset = load(write_rows(tmp_path / "set.jsonl", rows))
    assert len(dataset) == 1


def test_chats_without_an_answer_are_skipped_where_others_have_one(tmp_path: Path) -> None:
    first, second, third = (text for text in prompts_in("train", 3))
    other = prompts_in("test", 1)[0]
    answer = {"role": "assistant", "content": "Fine."}
    rows = [[first], [second, answer], [third, answer], [second], [first], [third], [other]]
    chats = [{"messages": [{"role": "user", "content": text}, *more]} for text, *more in rows]
    path = write_rows(tmp_path / "set.jsonl", chats)
    with pytest.warns(DataWarning, match=r"1 no reference"):
        dataset = load(path)
    assert [(example.prompt, example.references) for example in dataset] == [(second, ("Fine.",)), (third, ("Fine.",))]
    assert dataset.report == LoadReport(
        7, 3, 3, {"no reference": 1}, (f"{path}:1: no reference: expected an answer as in other rows, got none",)
    )
    assert [example.references for example in load(path, "test")] == [()]


# --- names


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("report", "Did you mean 'reports'"),
        ("newsroom", "Known: docstrings, reports"),
        ("sets/train.jsonl", "'sets' does not exist"),
        ("/nowhere/else", "expected an existing file or folder"),
        ("a/b/c", "expected an existing file or folder"),
    ],
)
def test_unknown_names(data: str, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=what):
        load_examples(data, built_in={"reports": Reports})


def test_missing_file_names_few_of_many_others(tmp_path: Path) -> None:
    for number in range(9):
        write_rows(tmp_path / f"part{number}.jsonl", numbered(1))
    with pytest.raises(DataError, match=r"holds part0\.jsonl, .*part4\.jsonl and 4 more\.$"):
        load(str(tmp_path / "unlike.csv"))


def test_misspelt_file_suggests_its_sibling(tmp_path: Path) -> None:
    write_rows(tmp_path / "dialogues.jsonl", numbered(3))
    with pytest.raises(DataError, match=r"Did you mean 'dialogues\.jsonl'"):
        load(str(tmp_path / "dialogue.jsonl"))


def test_built_in_sets_take_no_columns() -> None:
    with pytest.raises(DataError, match="leave them out"):
        load_examples("docstrings", prompt_column="text")


def test_data_is_a_name_or_a_path(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "set.jsonl", numbered(20))
    assert list(load(data)) == list(load(Path(data)))
    with pytest.raises(TypeError, match="a list of texts, examples or dicts, got dict, str"):
        load_examples(["a", {"prompt": "b"}])  # type: ignore[list-item]


def test_lists_of_rows_are_data_as_files_are(tmp_path: Path) -> None:
    rows = numbered(40, label=3)
    from_file = load(write_rows(tmp_path / "examples.jsonl", rows))
    assert list(load_examples(rows)) == list(from_file)
    with pytest.raises(DataError, match="expected prompt_column to name a column"):
        load_examples(rows, prompt_column="nothing")


def test_lists_of_texts_or_conversations_are_prompts() -> None:
    texts = [f"Name a bird, {number}." for number in range(40)]
    loaded = [example for split in SPLITS for example in load_examples(texts, split)]
    assert {example.prompt for example in loaded} == set(texts)
    chats = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for text in texts]
    assert load_examples(chats)[0].prompt[0] == Message("system", "Be brief.")  # type: ignore[arg-type]


def test_a_split_says_of_how_many_examples_it_is(tmp_path: Path) -> None:
    texts = [*prompts_in("train", 1), *prompts_in("test", 1), *prompts_in("validation", 1)]
    says = "train: 1 of 3 examples, split by a hash of the prompt"
    assert describe_split(load_examples(texts)) == says
    assert describe_split(load_examples([Example(text, text) for text in texts])) == says
    assert describe_split(load(write_rows(tmp_path / "set.jsonl", [{"prompt": text} for text in texts]))) == says
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", [{"prompt": split}])
    (tmp_path / "set.jsonl").unlink()
    assert describe_split(load(tmp_path)) == "train: 1 example"


def test_lists_of_examples_keep_their_keys() -> None:
    examples = [Example(f"mine/{i}", f"prompt {i}", extra={"level": i}) for i in range(40)]
    splits = [list(load_examples(examples, split)) for split in SPLITS]
    assert sorted((item for split in splits for item in split), key=lambda item: item.extra["level"]) == examples
    assert [split_of(prompt_digest(item.text)) for item in splits[2]] == ["test"] * len(splits[2])
    with pytest.raises(DataError, match="leave them out"):
        load_examples(examples, prompt_column="prompt")
    split = "test" if examples[0] in splits[0] else "train"
    with pytest.raises(DataError, match=f"at least one of 1 example in the {split} split, got none"):
        load_examples(examples[:1], split)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="list of texts, examples or dicts"):
        load_examples([])
    with pytest.raises(TypeError, match="texts as names of columns, got 3"):
        load_examples([{3: "a"}])  # type: ignore[dict-item]


# --- other columns


def test_all_other_columns_reach_the_example(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": "a", "score": i, "tags": ["x", {"y": i}], "empty": None} for i in range(40)]
    for data in (rows, write_rows(tmp_path / "rows.jsonl", rows)):
        for example in load_examples(data):
            number = int(example.text[1:])
            assert example.extra == {"score": number, "tags": ["x", {"y": number}], "empty": None}
            assert hash(example) == hash(Example(example.key, example.prompt, example.references))


def test_rows_of_one_prompt_that_differ_elsewhere_are_reported(tmp_path: Path) -> None:
    prompt = prompts_in("train", 1)[0]
    rows = [{"prompt": prompt, "summary": f"s{i}", "rating": i, "same": 1} for i in range(3)]
    with pytest.warns(DataWarning, match=r"differ in other columns \(rating\); the first row's are kept"):
        (example,) = dataset = load_examples(rows)  # type: ignore[misc]
    assert example.extra == {"rating": 0, "same": 1}
    assert example.references == ("s0", "s1", "s2")
    assert dataset.report.differing == {"rating": 2}  # type: ignore[attr-defined]


def test_fingerprints_know_other_columns() -> None:
    def of(**extra: Any) -> str:
        return fingerprint(load_examples([Example("k", prompts_in("train", 1)[0], extra=extra)]))

    assert of(a=1) == of(a=1) != of(a=2)
    assert of() not in (of(a=1), of(a=2))


def test_find_suggests_a_key(tmp_path: Path) -> None:
    dataset = load(write_rows(tmp_path / "set.jsonl", numbered(20)))
    assert dataset.find(dataset[3].key) is dataset[3]
    with pytest.raises(KeyError, match=f"did you mean '{dataset[3].key}'"):
        dataset.find(dataset[3].key[:-1])


def test_keys_must_be_unique() -> None:
    with pytest.raises(ValueError, match="unique keys"):
        InMemoryDataset("set", "train", [Example("a", "p"), Example("a", "q")])


# --- Hub


def test_hub_set_with_config_and_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    calls: list[tuple[str, str | None]] = []
    train = datasets.Dataset.from_list([{"dialogue": t, "summary": "s"} for t in prompts_in("train", 5)])
    test = datasets.Dataset.from_list([{"dialogue": "d", "summary": "s"}])

    def load_dataset(name: str, config: str | None) -> Any:
        calls.append((name, config))
        return datasets.DatasetDict({"train_sft": train, "test": test})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    dataset = load("owner/name:plain", "test")
    assert [example.key for example in dataset] == [f"owner/name:plain/{prompt_digest('d')}"]
    assert [example.prompt for example in load("owner/name", "train")] == prompts_in("train", 5)
    assert calls == [("owner/name", "plain"), ("owner/name", None)]


def test_hub_failure_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(name: str, config: str | None) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"load_dataset\('owner/name', 'cfg'\) failed with ConnectionError: no route"):
        load("owner/name:cfg")


# --- properties

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_ROWS = st.one_of(
    _VALUES,
    st.fixed_dictionaries({}, optional={"prompt": _VALUES, "summary": _VALUES, "messages": _VALUES}),
    st.fixed_dictionaries({"prompt": st.text(max_size=5), "summary": st.text(max_size=5)}),
)


@settings(max_examples=150)
@given(rows=st.lists(_ROWS, max_size=12), split=st.sampled_from(SPLITS))
def test_any_rows_load_or_raise_a_data_error_and_the_counts_add_up(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], split: Split
) -> None:
    data = write_rows(tmp_path_factory.mktemp("any") / "set.jsonl", rows)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = load(data, split)
    except DataError:
        return
    report = dataset.report
    assert report.rows_read == len(rows) == report.rows_kept + report.duplicates + sum(report.skipped.values())
    assert len(dataset) <= report.rows_kept
    for example in dataset:
        assert example.prompt.strip()
        assert all(text and text == text.strip() for text in example.references)


def test_import_is_light() -> None:
    code = (
        "import sys, textgym.data; print([m for m in ('torch', 'datasets', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
