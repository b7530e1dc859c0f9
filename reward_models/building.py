"""A reward model in two calls: made for a trunk or an encoder, fitted and normalised."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textgym.feedback.types import Record
from textgym.models.loading import load_language_model
from textgym.models.text_model import TextModel
from textgym.reward_models.embedding import EmbeddingRewardModel, TextEmbedder
from textgym.reward_models.ensemble import RewardEnsemble
from textgym.reward_models.evidence import Candidate, Evidence, Split, preferences, read_split
from textgym.reward_models.learned import LearnedReward
from textgym.reward_models.preference import PreferenceRewardModel
from textgym.reward_models.report import FitReport

MOST_REFERENCES = 512
"""Texts that a reward model is normalised on are enough at this number."""


def new_reward_model(
    trunk: str | Path | TextModel, *, members: int = 1, max_length: int = 512, lora_rank: int | None = None
) -> PreferenceRewardModel | RewardEnsemble:
    """Return an unfitted reward model on a language model.

    Args:
        trunk: Name, folder or Hub id; a model is trained in place (members beyond the first get copies).
        members: Models whose scores are averaged, each fitted to reweighted prompts.
        max_length: Most tokens of prompt and response; less where the trunk reads no more.
        lora_rank: Train low-rank adapters instead of all weights.

    Raises:
        ValueError: If there is to be less than one member.
    """
    if members < 1:
        raise ValueError(f"expected one member or more, got {members}; raise it")
    model = load_language_model(trunk)
    length = max_length if model.context_length is None else min(model.context_length, max_length)
    trunks = [model, *(copy.deepcopy(model) for _ in range(members - 1))]
    models = [PreferenceRewardModel(each, max_length=length, lora_rank=lora_rank) for each in trunks]
    return RewardEnsemble(models) if members > 1 else models[0]


def new_embedding_reward(encoder: str | Path | TextEmbedder, *, members: int = 1) -> EmbeddingRewardModel:
    """Return an unfitted linear reward on frozen embeddings; several members are heads on the same embeddings."""
    return EmbeddingRewardModel(encoder, replicas=members if members > 1 else 0)


def fit_reward_model(
    reward: LearnedReward,
    records: Sequence[Record] | Split,
    *,
    references: Sequence[Candidate] | None = None,
    criterion: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> FitReport:
    """Fit a reward model to feedback, and shift and scale its scores so that good texts have mean 0 and deviation 1.

        reward = new_reward_model("tiny")
        report = fit_reward_model(reward, read_records("feedback.jsonl"), epochs=2)
        reward.save("reward")

    Args:
        reward: The model; trained in place.
        records: Records of any kinds, or the result of :func:`~textgym.reward_models.evidence.read_split`; each is read
            once.
        references: Texts that count as 0 on average; by default the preferred ones of the records.
        criterion: Learn from the ratings by this criterion instead of the overall ones.
        held_out: Share of the prompts that accuracy is measured on.
        seed: Seed of the split and the fit.
        options: More arguments of the model's ``fit``, such as ``epochs`` and ``learning_rate``.

    Raises:
        DataError: As :func:`~textgym.reward_models.evidence.read_split`.
        NothingLearnedError: All references have the same score.
        RewardError: The loss becomes infinite or NaN.
    """
    split = read_split(records, criterion, held_out, seed)
    report = reward.fit(split, seed=seed, **options)
    texts = preferred_texts(split.everything) if references is None else references
    reward.normalise([text.prompt for text in texts], [text.response for text in texts])
    return report


def preferred_texts(evidence: Evidence, most: int = MOST_REFERENCES) -> list[Candidate]:
    """Return texts that were preferred to others, or all texts if fewer than two were.

    Args:
        evidence: Observations read from records.
        most: How many to return at most, in the order of the evidence.
    """
    decided = [each for each in preferences(evidence.observations) if each.label != 0.5]
    preferred = list(dict.fromkeys(each.first if each.label == 1 else each.second for each in decided))
    if len(preferred) < 2:
        preferred = list(dict.fromkeys(text for each in evidence.observations for text in each.candidates))
    return preferred[:most]
