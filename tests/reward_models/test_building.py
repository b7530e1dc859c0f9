"""A reward model in two calls, as in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textgym.feedback.types import Comparison, Record
from textgym.reward_models import (
    EmbeddingRewardModel,
    PreferenceRewardModel,
    RewardEnsemble,
    TextEmbedder,
    fit_reward_model,
    load_reward,
    new_embedding_reward,
    new_reward_model,
    read_split,
)
from textgym.reward_models.building import preferred_texts
from textgym.reward_models.evidence import Candidate, observe


def comparisons(n: int = 30) -> list[Record]:
    return [Comparison("k", f"document {i}", f"good good {i}", f"bad bad {i}", "ab"[i % 2]) for i in range(n)]


def test_a_trunk_alone_and_several(neox: Path) -> None:
    one = new_reward_model(neox)
    assert isinstance(one, PreferenceRewardModel)
    assert one.encoder.max_length == 256  # the context of the trunk, which is less than 512
    several = new_reward_model(neox, members=3, max_length=64)
    assert isinstance(several, RewardEnsemble)
    assert len({id(member.trunk) for member in several._models}) == 3
    with pytest.raises(ValueError, match="one member or more, got 0"):
        new_reward_model(neox, members=0)


def test_heads_on_embeddings(words: TextEmbedder) -> None:
    assert [new_embedding_reward(words, members=count).replicas for count in (1, 4)] == [0, 4]


@pytest.mark.parametrize("already_read", [False, True])
def test_preferred_texts_have_mean_0_and_deviation_1(words: TextEmbedder, already_read: bool) -> None:
    records = comparisons()
    split = read_split(records, held_out=0.2, seed=1)
    reward = EmbeddingRewardModel(words)
    report = fit_reward_model(reward, split if already_read else records, held_out=0.2, seed=1)
    assert report.pairs == len(split.train.observations)
    texts = preferred_texts(split.everything)
    assert {text.response for text in texts} == {record.chosen for record in records if isinstance(record, Comparison)}
    scores = scores_of(reward, texts)
    assert (scores.mean(), scores.std()) == (pytest.approx(0.0), pytest.approx(1.0))


def test_references_of_ones_own_are_0_on_average(words: TextEmbedder, tmp_path: Path) -> None:
    reward = new_embedding_reward(words)
    references = [Candidate("document 1", "good"), Candidate("document 2", "bad bad"), Candidate("document 3", "road")]
    fit_reward_model(reward, comparisons(), references=references)
    assert scores_of(reward, references).mean() == pytest.approx(0.0)
    reward.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward", device="cpu")
    assert again(["p"], ["good"], []) == pytest.approx(reward(["p"], ["good"]))


def test_all_texts_where_fewer_than_two_are_preferred() -> None:
    one = observe([Comparison("k", "p", "x", "y", "a")])
    assert preferred_texts(one) == [Candidate("p", "x"), Candidate("p", "y")]
    many = observe(comparisons(10))
    assert len(preferred_texts(many, most=4)) == 4


def scores_of(reward: EmbeddingRewardModel, texts: Sequence[Candidate]) -> np.ndarray:
    return reward([text.prompt for text in texts], [text.response for text in texts])
