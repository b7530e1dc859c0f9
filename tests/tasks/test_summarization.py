from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from textgym.data import DataWarning
from textgym.tasks import Summarization, prompt_text
from textgym.types import Episode, Example, Task, episodes_of

ROW = {"document": "The cat {prompt} sat {0} on the mat.", "summary": "The cat sat."}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({**ROW, "document": f"{ROW['document']} {n}"}) + "\n" for n in range(40)))
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(json.dumps({"document": f"Text {n}."}) + "\n" for n in range(40)))
    return path


def test_the_built_in_corpus_is_the_default() -> None:
    task: Task = Summarization()
    example = task.dataset[3]
    assert (task.name, task.dataset.name, task.dataset.split) == ("summarization", "reports", "train")
    assert (task.max_prompt_tokens, task.max_new_tokens, task.reward) == (512, 48, "learned")
    assert prompt_text(task, example) == f"{example.prompt}\n\nSummary:"
    assert list(task.metrics) == ["rouge1", "rouge2", "rougeL", "words", "distinct_2", "repetition_4"]


def test_braces_in_a_text_stay_what_they_are() -> None:
    example = Example("k", "a {prompt} {0} {x!r} b")
    assert prompt_text(Summarization(), example) == "a {prompt} {0} {x!r} b\n\nSummary:"


def test_gold_and_success_know_the_facts() -> None:
    task = Summarization(split="test")
    examples = [task.dataset[0], task.dataset[1]]
    right, other = examples[0].references[0], examples[1].references[0]
    scores = task.gold(episodes_of([examples[0]] * 2, [right, other]))
    assert scores is not None
    np.testing.assert_allclose(scores, [1.0, 0.0])
    assert task.is_success(Episode.of(examples[0], right))
    assert not task.is_success(Episode.of(examples[0], other))
    assert not task.is_success(Episode.of(examples[0], ""))


def test_another_split_of_the_same_task(own: Path) -> None:
    task = Summarization().for_split("validation")
    assert type(task) is Summarization
    assert task.dataset[0].key == "reports/validation/0"
    mine = Summarization(str(own), "document", "summary")
    assert mine.for_split("test").dataset.split == "test"
    assert mine.for_split("test").prompt_column == "document"


def test_own_data_with_references_is_scored_by_rouge(own: Path) -> None:
    task = Summarization(str(own), "document", "summary")
    example = task.dataset[0]
    assert task.reward == "rouge"
    assert "ROUGE-L" in task.reward_reason
    assert task.gold([Episode.of(example, "The cat sat.")]) is None
    assert task.is_success(Episode.of(example, "the cat sat"))
    # ROUGE-L of "the dog" and "the cat sat": precision 1/2, recall 1/3, F1 0.4.
    assert not task.is_success(Episode.of(example, "the dog"))
    assert task.metrics["rougeL"]([Episode.of(example, "the dog")])[0] == pytest.approx(0.4)


def test_own_data_without_references_says_so(bare: Path) -> None:
    task = Summarization(str(bare), "document")
    assert task.reward == "learned"
    assert "no references" in task.reward_reason
    assert list(task.metrics) == ["words", "distinct_2", "repetition_4"]
    assert not task.is_success(Episode.of(task.dataset[0], "Text 1."))


def test_a_path_is_as_good_as_its_name(own: Path) -> None:
    task, named = Summarization(own), Summarization(str(own))
    assert (task.data, task.reward_reason) == (str(own), named.reward_reason)
    assert task.for_split("test").dataset[0] == named.for_split("test").dataset[0]


def test_answers_in_some_chats_only_can_be_scored_by_rouge(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    turns = [[{"role": "user", "content": f"Text {n}."}, {"role": "assistant", "content": "A."}] for n in range(40)]
    path.write_text("".join(json.dumps({"messages": turn[: 1 + n % 2]}) + "\n" for n, turn in enumerate(turns)))
    with pytest.warns(DataWarning, match="no reference"):
        task = Summarization(path)
    examples = [task.dataset[row] for row in range(len(task.dataset))]
    texts = ["A."] * len(examples)
    assert list(task.metrics["rougeL"](episodes_of(examples, texts))) == [1.0] * len(examples)


def test_the_class_docstring_is_the_page() -> None:
    page = Summarization.__doc__ or ""
    for heading in ("Description", "Data", "Prompt", "Rewards", "Success", "Metrics", "Arguments", "Version History"):
        assert f"## {heading}" in page
