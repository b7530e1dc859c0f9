"""Question answering: the built-in passages, gold worked out by hand, and questions without an answer in files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from textgym.metrics.answers import UNANSWERABLE, is_abstention
from textgym.tasks import Answering, prompt_text
from textgym.tasks.answering.passages import SIZES
from textgym.types import SPLITS, Episode, Example

COUNT = 300


def some(split: Any = "train", level: str = "medium", count: int = COUNT) -> list[Example]:
    data = Answering(split=split, difficulty=level).dataset
    return [data[place] for place in range(count)]


def gold(*pairs: tuple[Example, str]) -> list[float]:
    values = Answering().gold([Episode.of(*pair) for pair in pairs])
    assert values is not None
    return [float(value) for value in values]


@pytest.mark.parametrize("level", SIZES)
def test_a_reference_is_right_and_stands_in_the_passage(level: str) -> None:
    size, examples = SIZES[level], some(level=level)
    task = Answering(difficulty=level)
    assert set(gold(*((example, example.references[0]) for example in examples))) == {1.0}
    for example in examples:
        (answer,) = example.references
        passage, question = example.extra["passage"], example.extra["question"]
        assert example.prompt == f"{passage}\n\n{question}"
        assert passage.count(".") == size.places * size.facts
        assert task.is_success(Episode.of(example, answer))
        assert (answer == UNANSWERABLE) == (not example.extra["answerable"])
        said = {(place, aspect): value for place, aspect, value in example.extra["facts"]}
        assert len(said) == size.places * size.facts == sum(value in passage for value in said.values())
        assert said.get(tuple(example.extra["asked"]), UNANSWERABLE) == answer
        assert example.extra["asked"][0] in question
        assert answer in passage or not example.extra["answerable"]
    lacking = sum(not example.extra["answerable"] for example in examples) / COUNT
    assert lacking == pytest.approx(size.unanswerable, abs=0.08)


def test_most_passages_say_the_same_of_another_place() -> None:
    """It matters which place is asked about."""
    examples = [example for example in some() if example.extra["answerable"]]
    elsewhere = [
        sum(aspect == example.extra["asked"][1] for _, aspect, _ in example.extra["facts"]) for example in examples
    ]
    assert sum(count > 1 for count in elsewhere) / len(examples) > 0.6


def test_splits_share_no_prompt() -> None:
    prompts = {split: {example.prompt for example in some(split)} for split in SPLITS}
    assert all(len(found) == COUNT for found in prompts.values())
    assert not prompts["train"] & prompts["test"]
    assert not prompts["train"] & prompts["validation"]


def test_drafts_are_mostly_wrong() -> None:
    """What is most likely is wrong: no abstention, another place's fact, more words than asked for."""
    examples = some(count=2000)
    drafts = [(example, example.demonstrations[0]) for example in examples]
    lacking = [is_abstention(draft) for example, draft in drafts if not example.extra["answerable"]]
    assert sum(lacking) / len(lacking) == pytest.approx(0.25, abs=0.05)
    values = gold(*drafts)
    assert sum(values) / len(values) == pytest.approx(0.3, abs=0.03)
    assert sum(value == 1 for value in values) / len(values) == pytest.approx(0.2, abs=0.03)


def test_gold_by_hand() -> None:
    asked = Example("a", "", ("Anna Keller",), extra={"answerable": True})
    year = Example("b", "", ("1912",), extra={"answerable": True})
    none = Example("c", "", (UNANSWERABLE,), extra={"answerable": False})
    assert gold((asked, "Anna Keller."), (asked, "Keller"), (asked, "Anna Jensen")) == pytest.approx([1, 2 / 3, 1 / 2])
    assert gold((asked, "it was designed by Anna Keller")) == pytest.approx([2 * 2 / (6 + 2)])
    assert gold((year, "1912 1912 1912 1912"), (year, "1911 1912 1913")) == pytest.approx([2 / 5, 2 / 4])
    assert gold((asked, UNANSWERABLE), (none, UNANSWERABLE), (none, "1912"), (none, ""), (asked, "")) == [0, 1, 0, 0, 0]
    assert gold((none, f"{UNANSWERABLE} 1912"), (year, f"{UNANSWERABLE} 1912")) == pytest.approx([2 / 3, 2 / 3])


def test_nothing_that_is_always_the_same_pays() -> None:
    """To abstain always, to say nothing, to copy the passage, or to list all that is said."""
    examples = some("test")
    task = Answering(split="test")
    everything = [" ".join(re.findall(r"[A-Z0-9]\w*", example.extra["passage"])) for example in examples]
    means = {
        name: sum(gold(*zip(examples, texts, strict=True))) / COUNT
        for name, texts in {
            "abstains": [UNANSWERABLE] * COUNT,
            "silent": [""] * COUNT,
            "copies": [example.extra["passage"] for example in examples],
            "lists": everything,
            "first words": [" ".join(example.extra["passage"].split()[:3]) for example in examples],
        }.items()
    }
    assert means["abstains"] == pytest.approx(0.3, abs=0.08)
    assert means["silent"] == 0
    assert max(means["copies"], means["lists"], means["first words"]) < 0.2
    assert not any(task.is_success(Episode.of(example, example.extra["passage"])) for example in examples)


def test_questions_of_a_file_that_have_no_answer(tmp_path: Path) -> None:
    asked = [
        {
            "id": f"q{number}",
            "question": f"What is number {number}?",
            "answers": [{"text": f"a tower {number}", "answer_start": 0}],
        }
        for number in range(30)
    ]
    asked[3] |= {"answers": [], "is_impossible": True, "plausible_answers": [{"text": "a wall", "answer_start": 1}]}
    articles = [{"title": "Town", "paragraphs": [{"context": "Here are towers.", "qas": asked}]}]
    nested, flat = tmp_path / "nested.json", tmp_path / "flat.jsonl"
    nested.write_text(json.dumps({"version": "2", "data": articles}), encoding="utf-8")
    rows = [
        {
            "context": "Here are towers.",
            "question": each["question"],
            "answers": {"text": [a["text"] for a in each["answers"]], "answer_start": []},
        }
        for each in asked
    ]
    flat.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for path in (nested, flat):
        found = [example for split in SPLITS for example in load(path, split)]
        assert len(found) == 30
        (without,) = [example for example in found if "number 3?" in example.prompt]
        assert without.references == (UNANSWERABLE,)
        env: Any = gym.make("TextQAEpisode-v0", data=str(path), split="train")
        env.reset(seed=0)
        assert env.unwrapped.task.gold([]) is None
        *_, info = env.step("a tower")
        assert "gold" not in info


def load(path: Path, split: Any) -> list[Example]:
    data = Answering(data=str(path), split=split).dataset
    return [data[place] for place in range(len(data))]


def test_a_chat_model_is_asked_by_an_instruction() -> None:
    task = Answering()
    example = task.dataset[0]
    assert prompt_text(task, example) == f"{example.prompt}\nAnswer:"
    prompt: Any = task.prompt(example)
    assert UNANSWERABLE in prompt.for_chat.prefix
