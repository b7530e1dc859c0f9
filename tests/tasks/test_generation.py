"""The neutral task: its built-in requests and its length reward."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.rewards import resolve_reward
from textgym.rewards.length import length
from textgym.tasks import Generation, prompt_text
from textgym.tasks.generation import _SUBJECTS, requests
from textgym.types import SPLITS, Episode, Example


def test_the_built_in_requests() -> None:
    splits = {split: requests(split) for split in SPLITS}
    texts = {split: [data[place].text for place in range(len(data))] for split, data in splits.items()}
    assert {split: len(rows) for split, rows in texts.items()} == {"train": 704, "validation": 128, "test": 128}
    assert len({text for rows in texts.values() for text in rows}) == 960
    about = {split: {each for each in _SUBJECTS for text in rows if each in text} for split, rows in texts.items()}
    assert sum(map(len, about.values())) == len(_SUBJECTS) == 60  # no subject is in two splits
    assert texts["test"][:2] == [
        "Describe a harbour in winter to somebody who has never seen one.",
        "Write the opening of a story about a weekly market.",
    ]
    assert splits["train"][0].key == "requests/train/0"


def test_nothing_stands_around_a_prompt() -> None:
    task = Generation(split="test")
    assert all(prompt_text(task, task.dataset[place]) == task.dataset[place].text for place in range(len(task.dataset)))


@pytest.mark.parametrize(
    ("words", "score"), [(0, 0.0), (1, 0.05), (5, 0.25), (20, 1.0), (30, 0.5), (40, 0.0), (99, 0.0)]
)
def test_the_length_reward(words: int, score: float) -> None:
    assert length([""], ["word " * words], []) == pytest.approx(score)


@given(st.lists(st.text(), max_size=4))
def test_the_length_reward_is_between_0_and_1(texts: list[str]) -> None:
    scores = length([""] * len(texts), texts, [])
    assert scores.shape == (len(texts),)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize(
    ("text", "whole"),
    [("It rains.", True), ('"Does it?"', True), ("It rai", False), ("", False), ("下雨了。", True), ("Yes!)\n", True)],
)
def test_a_text_that_is_cut_off_is_no_success(text: str, whole: bool) -> None:
    task = Generation(split="test")
    assert task.is_success(Episode.of(task.dataset[0], text)) is whole


def test_without_data_the_reward_is_the_length_and_with_data_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    env: Any = gym.make("TextGenEpisode-v0")
    env.reset(seed=0)
    _, reward, _, _, info = env.step("word " * 10)
    assert (reward, info["rewards"]["length"]) == (0.5, 0.5)
    assert "gold" not in info
    assert not caplog.records
    gym.make("TextGenEpisode-v0", data=[{"prompt": f"p{n}"} for n in range(40)])
    assert "20 words, whatever they say; reward=... chooses another" in caplog.text


def test_its_metrics_need_no_references() -> None:
    task = Generation(split="test")
    episode = Episode.of(task.dataset[0], "one two three one two three four")
    assert {name: float(metric([episode])[0]) for name, metric in task.metrics.items()} == pytest.approx(
        {"words": 7, "distinct_2": 4 / 6, "repetition_4": 0}
    )
    assert np.isfinite([metric([episode])[0] for metric in task.metrics.values()]).all()


def test_exemplary_answers_are_rewarded_complete_and_about_the_subject() -> None:
    task = Generation(split="test")
    examples = [task.dataset[place] for place in range(len(task.dataset))]
    texts = [task.exemplary(example)[0].content for example in examples]
    rewards = np.asarray(resolve_reward(task.reward, task)([""] * len(texts), texts, examples))
    assert rewards.min() >= 0.8
    assert rewards.mean() > 0.9
    assert all(task.is_success(Episode.of(example, text)) for example, text in zip(examples, texts, strict=True))
    assert len(set(texts)) == len(texts)
    own = [Example(str(n), f"Hello {n}.", (f"Hi {n}.",)) for n in range(40)]
    assert Generation(own).exemplary(own[7])[0].content == "Hi 7."
