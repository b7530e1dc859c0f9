"""Rewards by sentence embeddings and ensembles, found by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.errors import DataError, ModelError
from textgym.reward_models import EmbeddingRewardModel
from textgym.reward_models.similarity import SimilarityReward
from textgym.rewards import resolve_reward, score
from textgym.types import Example

EXAMPLES = [Example("a", "p", ("The council met.", "A storm came.")), Example("b", "q", ("A storm came.",))]


def test_the_nearest_reference_counts() -> None:
    reward = SimilarityReward("tiny")
    values = reward(["p", "q"], ["A storm came.", "The council met."], EXAMPLES)
    assert values[0] == pytest.approx(1.0, abs=1e-6)
    assert -1 <= values[1] < 0.999
    assert reward([], [], []).shape == (0,)
    by_name = score(resolve_reward("0.5*similarity?model=tiny"), ["p", "q"], ["A storm came.", ""], EXAMPLES)
    assert by_name.total[0] == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(DataError, match="similarity compares"):
        reward(["p"], ["text"], [Example("c", "p")])


def test_disagreement_is_subtracted(tmp_path: Path) -> None:
    several: Any = EmbeddingRewardModel("tiny", replicas=3)
    several.save(tmp_path / "several")
    texts, prompts = ["A storm came.", "The council met."], ["p", "q"]
    name = f"pessimistic?model={tmp_path / 'several'}&beta=2"
    found = score(resolve_reward(name), prompts, texts, EXAMPLES)
    mean = several.score(prompts, texts, EXAMPLES).total
    assert np.allclose(found.parts["mean"], mean)
    assert np.allclose(found.total, mean - 2 * several.spread(prompts, texts) / several.normalisation.std)
    with pytest.raises(ModelError, match="reward of several members"):
        score(resolve_reward("pessimistic?model=tiny-reward"), prompts, texts, EXAMPLES)
    with pytest.raises(ValueError, match="beta of at least 0"):
        score(resolve_reward(f"pessimistic?model={tmp_path / 'several'}&beta=-1"), prompts, texts, EXAMPLES)
