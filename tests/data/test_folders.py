"""Folders: texts by class, texts by line, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgym.data import DataWarning, InMemoryDataset, load_examples
from textgym.data.dataset import prompt_digest, split_of
from textgym.errors import DataError
from textgym.types import SPLITS, Split

FILMS = [
    text for text in (f"Film {i} was fine.\nSee it." for i in range(90)) if split_of(prompt_digest(text)) == "train"
]


def load(data: Path, split: Split = "train") -> InMemoryDataset:
    dataset = load_examples(data, split)
    assert isinstance(dataset, InMemoryDataset)
    return dataset


def write(home: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def test_reviews_in_folders_of_classes(tmp_path: Path) -> None:
    """Each file is one text, with its folder as label; texts without a class are left out, and said."""
    write(tmp_path, {f"train/pos/{i}_9.txt": FILMS[i] for i in range(3)})
    write(tmp_path, {f"train/neg/{i}_2.txt": FILMS[3 + i] for i in range(3)})
    write(tmp_path, {f"train/unsup/{i}_0.txt": FILMS[6 + i] for i in range(3)})
    write(tmp_path, {f"test/{label}/{i}.txt": f"Other {label} {i}." for label in ("pos", "neg") for i in range(2)})
    write(tmp_path, {"train/urls_pos.txt": "http://a\n", "extra.txt": "no\n", "README": "Read me.", "vocab": "a b"})
    with pytest.warns(DataWarning) as caught:
        train, test = load(tmp_path), load(tmp_path, "test")
    assert {(example.prompt, example.extra["label"]) for example in train} == {
        *((text, "pos") for text in FILMS[:3]),
        *((text, "neg") for text in FILMS[3:6]),
    }
    assert sorted(example.text for example in test) == ["Other neg 0.", "Other neg 1.", "Other pos 0.", "Other pos 1."]
    assert {example.references for example in (*train, *test)} == {()}
    (ignored,) = {str(warning.message) for warning in caught}
    for name in ("train/unsup", "train/urls_pos.txt", "extra.txt"):
        assert str(tmp_path / name) in ignored
    assert train.report.remarks == (
        "prompts from text, no references; every file is one text, and its folder the label",
    )


def test_folders_of_classes_without_splits_are_cut_by_hash(tmp_path: Path) -> None:
    write(tmp_path, {f"{label}/{i}.txt": f"{label} {i}" for label in ("spam", "ham") for i in range(60)})
    sets = {split: load(tmp_path, split) for split in SPLITS}
    assert sum(map(len, sets.values())) == 120
    assert all(example.text.split()[0] == example.extra["label"] for dataset in sets.values() for example in dataset)


def test_the_same_review_is_not_in_train_and_test(tmp_path: Path) -> None:
    write(tmp_path, {f"{split}/{label}/1.txt": "Same." for split in ("train", "test") for label in ("pos", "neg")})
    write(tmp_path, {f"{split}/pos/2.txt": FILMS[0] + split[-3:] for split in ("train", "test")})
    write(tmp_path, {"train/neg/3.txt": FILMS[1]})
    with pytest.warns(DataWarning, match="2 in another split"):
        assert sorted(example.text for example in load(tmp_path)) == sorted([FILMS[0] + "ain", FILMS[1]])


def test_broken_bytes_in_a_text_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {f"{label}/{i}.txt": f"{label} {i}" for label in ("a", "b") for i in range(30)})
    (tmp_path / "a" / "x.txt").write_bytes(b"caf\xe9")
    with pytest.warns(DataWarning, match=r"1 broken encoding.*a/x\.txt:1"):
        load(tmp_path)


def test_texts_by_line_in_files_of_splits(tmp_path: Path) -> None:
    write(tmp_path, {"train.txt": "\n".join(FILMS[0].split("\n") * 2), "test.txt": "One.\n\nTwo.\n"})
    assert [example.prompt for example in load(tmp_path, "test")] == ["One.", "Two."]
    assert load(tmp_path, "test").report.remarks[0].endswith("every line is one text")


def test_texts_beside_tables_are_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path, {"set.jsonl": "".join(json.dumps({"prompt": text}) + "\n" for text in FILMS[:3])})
    write(tmp_path, {"README.txt": "Read me.\n", "notes/licence.txt": "None.\n"})
    with pytest.warns(DataWarning, match=r"has files with columns; ignored: .*README\.txt, .*licence\.txt"):
        assert [example.prompt for example in load(tmp_path)] == FILMS[:3]


def test_a_file_of_other_columns_in_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "prompt\n" + "\n".join(map(str, range(30))), "b.csv": "x,y\nA a,B b\n"})
    with pytest.raises(DataError, match=r"expected a column of prompts in .*b\.csv, got several"):
        load(tmp_path)


def test_pipes_among_texts_are_not_waited_for(tmp_path: Path) -> None:
    import os

    write(tmp_path, {f"{label}/{i}.txt": f"{label} {i}" for label in ("a", "b") for i in range(30)})
    os.mkfifo(tmp_path / "a" / "pipe.txt")
    assert len(load(tmp_path)) + len(load(tmp_path, "validation")) + len(load(tmp_path, "test")) == 60
