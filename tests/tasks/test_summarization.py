from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from textgym.data import DataWarning
from textgym.tasks import Summarization
from textgym.types import Example, Task

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
    assert (task.max_prompt_tokens, task.max_new_tokens, task.default_reward) == (512, 48, "learned")
    assert task.format_prompt(example) == f"{example.prompt}\n\nSummary:"
    assert sorted(task.metrics) == ["rouge1", "rouge2", "rougeL"]


def test_braces_in_a_text_stay_what_they_are() -> None:
    example = Example("k", "a {prompt} {0} {x!r} b")
    assert Summarization().format_prompt(example) == "a {prompt} {0} {x!r} b\n\nSummary:"


def test_gold_and_success_know_the_facts() -> None:
    task = Summarization(split="test")
    examples = [task.dataset[0], task.dataset[1]]
    right, other = examples[0].references[0], examples[1].references[0]
    scores = task.gold([right, other], [examples[0]] * 2)
    assert scores is not None
    np.testing.assert_allclose(scores, [1.0, 0.0])
    assert task.is_success(right, examples[0])
    assert not task.is_success(other, examples[0])
    assert not task.is_success("", examples[0])


def test_another_split_of_the_same_task(own: Path) -> None:
    task = Summarization().for_split("validation")
    assert type(task) is Summarization
    assert task.dataset[0].key == "reports/validation/0"
    mine = Summarization(str(own), "document", "summary")
    assert mine.for_split("test").dataset.split == "test"
    assert mine.for_split("test").prompt_column == "document"


def test_own_data_with_references_is_judged_by_rouge(own: Path) -> None:
    task = Summarization(str(own), "document", "summary")
    example = task.dataset[0]
    assert task.default_reward == "rouge"
    assert "ROUGE-L" in task.default_reward_reason
    assert task.gold(["The cat sat."], [example]) is None
    assert task.is_success("the cat sat", example)
    # ROUGE-L of "the dog" and "the cat sat": precision 1/2, recall 1/3, F1 0.4.
    assert not task.is_success("the dog", example)
    assert task.metrics["rougeL"](["p"], ["the dog"], [example])[0] == pytest.approx(0.4)


def test_own_data_without_references_says_so(bare: Path) -> None:
    task = Summarization(str(bare), "document")
    assert task.default_reward == "learned"
    assert "no references" in task.default_reward_reason
    assert task.metrics == {}
    assert not task.is_success("Text 1.", task.dataset[0])


def test_a_path_is_as_good_as_its_name(own: Path) -> None:
    task, named = Summarization(own), Summarization(str(own))
    assert (task.data, task.default_reward_reason) == (str(own), named.default_reward_reason)
    assert task.for_split("test").dataset[0] == named.for_split("test").dataset[0]


def test_answers_in_some_chats_only_can_be_judged_by_rouge(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    turns = [[{"role": "user", "content": f"Text {n}."}, {"role": "assistant", "content": "A."}] for n in range(40)]
    path.write_text("".join(json.dumps({"messages": turn[: 1 + n % 2]}) + "\n" for n, turn in enumerate(turns)))
    with pytest.warns(DataWarning, match="no reference"):
        task = Summarization(path)
    examples = [task.dataset[row] for row in range(len(task.dataset))]
    texts = ["A."] * len(examples)
    assert list(task.metrics["rougeL"](texts, texts, examples)) == [1.0] * len(examples)


def test_the_class_docstring_is_the_page() -> None:
    page = Summarization.__doc__ or ""
    for heading in ("Description", "Data", "Prompt", "Rewards", "Success", "Metrics", "Arguments", "Version History"):
        assert f"## {heading}" in page
