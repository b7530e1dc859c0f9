"""Kahneman-Tversky optimization: labels instead of pairs, and a baseline from the responses to other prompts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.preference_data import feedback_for, letters, make
from textgym.agents.common.feedback_ids import LabelledText
from textgym.agents.kto import KTO, with_others
from textgym.errors import CheckpointError, DataError
from textgym.models.log_probs import response_log_probs


def test_the_loss_by_hand() -> None:
    agent = make("kto", beta=0.2, desirable_weight=1.5)
    agent.learn(4)
    rows = [0, 1, 6, 7]
    loss, statistics = agent.loss(rows, np.random.default_rng(0))
    items = [agent.items[row] for row in rows]
    prompts = [item.prompt for item in items]
    reference = agent.references[0][rows].double().numpy()
    own = response_log_probs(agent.text_model, prompts, [item.response for item in items]) - reference[:, 0]
    others = response_log_probs(agent.text_model, prompts, [item.other for item in items]) - reference[:, 1]
    z = max(0.0, float(others.mean()))
    expected = [
        1.5 * (1 - 1 / (1 + math.exp(-0.2 * (r - z)))) if item.desirable else 1 - 1 / (1 + math.exp(-0.2 * (z - r)))
        for r, item in zip(own, items, strict=True)
    ]
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-4)
    assert statistics["kl_baseline"].item() == pytest.approx(z, abs=1e-4)
    good = [r for r, item in zip(own, items, strict=True) if item.desirable]
    assert statistics["reward_desirable"].item() == pytest.approx(0.2 * np.mean(good), abs=1e-4)


def test_a_batch_of_one_kind_lacks_the_numbers_of_the_other() -> None:
    agent = make("kto")
    bad = [row for row, item in enumerate(agent.items) if not item.desirable][:3]
    loss, statistics = agent.loss(bad, np.random.default_rng(0))
    assert math.isfinite(loss.item())
    assert "reward_desirable" not in statistics
    assert "reward_undesirable" in statistics


def test_others_are_responses_to_other_prompts() -> None:
    texts = [LabelledText([1], [10], True), LabelledText([1], [11], False), LabelledText([2], [20], True)]
    assert [text.other for text in with_others(texts)] == [[20], [20], [10]]
    kept = [texts[0]._replace(other=[7]), *texts[1:]]
    assert with_others(kept)[0].other == [7]
    with pytest.raises(DataError, match="expected labelled texts about at least two prompts"):
        with_others(texts[:2])
    assert [text.other for text in with_others(texts[:1], texts)] == [[20]]


def test_labels_of_a_checkpoint_are_checked(tmp_path: Path) -> None:
    agent = make("kto")
    tensors: Any = agent.pack(agent.items)
    size = agent.text_model.vocab_size
    assert KTO.unpack(tensors, size) == [item._replace(other=list(item.other)) for item in agent.items]
    for labels in (tensors["desirable"][:1], tensors["desirable"].float()):
        with pytest.raises(CheckpointError, match="expected a label of every text"):
            KTO.unpack({**tensors, "desirable": labels}, size)


def test_undesirable_texts_alone_become_less_likely() -> None:
    model = letters()
    texts = [text for text in feedback_for("kto", model) if not text.desirable][::3]
    agent = KTO(model, texts, batch_size=8, learning_rate=3e-3)
    agent.learn(12)
    assert agent.references is not None
    last = response_log_probs(model, [text.prompt for text in texts], [text.response for text in texts])
    assert torch.from_numpy(last).mean() < agent.references[0][:, 0].mean() - 1
