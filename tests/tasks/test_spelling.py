"""Spelling: words, drafts, scores worked out by hand, and action masks."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.metrics.letters import decoy, letters
from textgym.rewards import resolve_reward, score
from textgym.tasks import Spelling
from textgym.text.tokenizer import Tokenizer
from textgym.types import SPLITS, Episode, Example

SIZES = {"easy": (9, 2, "abc"), "medium": (64, 3, "abcd"), "hard": (1296, 4, "abcdef")}


def task(split: Any = "train", **chosen: str) -> Spelling:
    return Spelling(split=split, **chosen)


@pytest.mark.parametrize("level", SIZES)
def test_all_words_of_a_level_in_three_splits(level: str) -> None:
    count, length, alphabet = SIZES[level]
    tasks = {split: task(split, difficulty=level) for split in SPLITS}
    found = {split: list(map(each.dataset.__getitem__, range(len(each.dataset)))) for split, each in tasks.items()}
    words = [example.prompt for examples in found.values() for example in examples]
    assert len(words) == len(set(words)) == count == len(alphabet) ** length
    assert {letter for word in words for letter in word} == {*alphabet}
    assert {len(word) for word in words} == {length} == {each.max_new_tokens for each in tasks.values()}
    assert len(found["train"]) == (count + 1) // 2
    assert len(found["test"]) >= count // 4
    for example in found["test"]:
        assert tasks["test"].is_success(Episode.of(example, example.references[0]))


def test_drafts_are_right_in_two_letters_of_five() -> None:
    data = task(difficulty="hard").dataset
    pairs = [
        (draft, example.prompt) for example in map(data.__getitem__, range(300)) for draft in example.demonstrations
    ]
    right = [a == b for draft, word in pairs for a, b in zip(draft, word, strict=True)]
    assert len(right) == 300 * 8 * 4
    assert np.mean(right) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    ("text", "in_place", "deceptive", "gold"),
    [
        ("abc", 1.0, 1.0, 1.0),
        (" abc\n", 1.0, 1.0, 1.0),
        ("", 0.0, 0.0, 0.0),
        ("abb", 2 / 3, 1 / 6, 0.0),
        ("cab", 0.0, 0.5, 0.0),
        ("ABC", 0.0, 0.5, 0.0),
        ("ab", 2 / 3, 0.0, 0.0),
        ("abcabc", 0.0, 0.0, 0.0),
        ("abc=", 2 / 3, 0.0, 0.0),
        ("a b c", 0.0, 1 / 3, 0.0),
        ("abc" * 2000, 0.0, 0.0, 0.0),
    ],
)
def test_scores_by_hand(text: str, in_place: float, deceptive: float, gold: float) -> None:
    example = Example("k", "abc", ("abc",))
    arguments = ["abc="], [text], [example]
    assert letters(*arguments).tolist() == pytest.approx([in_place])
    assert decoy(*arguments).tolist() == pytest.approx([deceptive])
    assert score(resolve_reward("letters"), *arguments).total.tolist() == pytest.approx([in_place])
    found = task().gold([Episode.of(example, text)])
    assert found is not None
    assert found.tolist() == [gold]


def test_masks_allow_letters_and_ends_where_a_text_may_be_complete() -> None:
    rows = [{"prompt": "first", "reference": "ab"}, {"prompt": "second", "reference": "cab"}] * 20
    data = [Example(f"k{number}", f"{row['prompt']} {number}", (row["reference"],)) for number, row in enumerate(rows)]
    env: Any = gym.make("TextSpell-v0", data=data)
    env.reset(seed=0)
    ends = set(env.unwrapped.tokenizer.eos_ids)
    abc = set(env.unwrapped.tokenizer.encode("abc"))
    assert {*np.flatnonzero(env.unwrapped.action_masks())} == abc
    for id_ in env.unwrapped.tokenizer.encode("ab"):
        *_, info = env.step(np.int64(id_))
    assert {*np.flatnonzero(info["action_mask"])} == abc | ends
    assert env.unwrapped.max_new_tokens == 3
    other: Any = gym.make("TextSpell-v0", data=data, model="tiny")
    _, info = other.reset(seed=0)
    assert {*np.flatnonzero(info["action_mask"])} == set(
        np.concatenate([other.unwrapped.tokenizer.encode_batch(["a", "b", "c"])]).ravel()
    )


def test_own_words_are_copied_where_nothing_else_is_asked() -> None:
    own = Spelling(data=[{"prompt": f"face{number}"} for number in range(20)])
    assert own.dataset[0].references == (own.dataset[0].text,)
    assert own.gold([Episode.of(own.dataset[0], own.dataset[0].text)]) is not None


def test_the_tokenizer_of_letters() -> None:
    tokenizer = Tokenizer.load("letters")
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode("abcdef=") == list(range(2, 9))
    assert tokenizer.decode([2, 0, 3, 1]) == "ab"
    assert tokenizer.eos_ids == (1,)
    assert tokenizer.encode_response("ab") == [2, 3]
