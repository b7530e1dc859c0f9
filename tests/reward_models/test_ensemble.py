"""Ensembles of language models, and LoRA."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textgym.reward_models import PreferenceRewardModel, RewardEnsemble, load_reward

PROMPTS = ["document road\n\nSummary:"] * 3
TEXTS = ["good road", "council", "bad bad"]


@pytest.fixture(scope="module")
def members(neox: Path) -> list[PreferenceRewardModel]:
    return [PreferenceRewardModel(neox, max_length=128) for _ in range(2)]


def test_scores_are_means_and_spreads_of_members(
    world: Any, members: list[PreferenceRewardModel], tmp_path: Path
) -> None:
    model = RewardEnsemble(members)
    report = model.fit([world.comparison() for _ in range(150)], epochs=2, learning_rate=3e-3, validation_fraction=0.3)
    raw = np.stack([member.raw(PROMPTS, TEXTS) for member in members])
    assert not np.allclose(raw[0], raw[1])
    assert model.raw(PROMPTS, TEXTS) == pytest.approx(raw.mean(axis=0))
    assert model.spread(PROMPTS, TEXTS) == pytest.approx(raw.std(axis=0))
    assert report.accuracy.low > 0.5
    assert len(report.losses) == len(members[0].report.losses)  # type: ignore[union-attr]
    model.normalise(PROMPTS, TEXTS)
    model.save(tmp_path / "reward")
    loaded = load_reward(tmp_path / "reward", device="cpu")
    assert isinstance(loaded, RewardEnsemble)
    assert loaded(PROMPTS, TEXTS) == pytest.approx(model(PROMPTS, TEXTS), abs=1e-5)
    assert loaded.raw_members(PROMPTS, TEXTS).shape == (2, 3)


def test_no_member_sees_what_is_held_out(world: Any, members: list[PreferenceRewardModel]) -> None:
    report = RewardEnsemble(members).fit([world.comparison() for _ in range(40)], validation_fraction=0.5)
    assert {member.report.pairs for member in members if member.report} == {report.pairs}
    assert report.pairs + report.held_out_pairs == 40


def test_one_model_is_no_ensemble(members: list[PreferenceRewardModel]) -> None:
    for few in (members[:1], [members[0], members[0]]):
        with pytest.raises(ValueError, match="two different models"):
            RewardEnsemble(few)


def test_lora_leaves_the_trunk_alone_and_is_merged_when_saved(world: Any, neox: Path, tmp_path: Path) -> None:
    model = PreferenceRewardModel(neox, max_length=128, lora_rank=4)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora" in name for name in trained - {"head.weight", "likelihood_weight"})
    before = {name: tensor.clone() for name, tensor in model.named_parameters() if name not in trained}
    report = model.fit([world.comparison() for _ in range(200)], epochs=4, learning_rate=1e-2, validation_fraction=0.3)
    assert report.accuracy.low > 0.5
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters() if name in before)
    model.save(tmp_path / "reward")
    loaded = PreferenceRewardModel.load(tmp_path / "reward")
    assert loaded.raw(PROMPTS, TEXTS) == pytest.approx(model.raw(PROMPTS, TEXTS), abs=1e-4)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
