"""SimPO by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.agents.preference_data import letters, make, pairs_of
from textgym.agents.simpo import SimPO
from textgym.models.log_probs import response_log_probs


def test_the_loss_by_hand() -> None:
    """Mean log-probabilities, and a margin."""
    agent = make("simpo", beta=1.5, target_margin=0.4)
    rows = [0, 5, 9]
    loss, statistics = agent.loss(rows, np.random.default_rng(0))
    margins = []
    for row in rows:
        item = agent.items[row]
        sums = response_log_probs(agent.text_model, [item.prompt] * 2, [item.chosen, item.rejected])
        margins.append(1.5 * (sums[0] - sums[1]) / 2)  # two tokens each
    expected = np.mean([math.log1p(math.exp(-(margin - 0.4))) for margin in margins])
    assert loss.item() == pytest.approx(expected, abs=1e-4)
    assert statistics["margin"].item() == pytest.approx(np.mean(margins), abs=1e-4)


def test_a_margin_below_0_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected target_margin of at least 0, got -1\.0"):
        SimPO(letters(), pairs_of(letters())[:2], target_margin=-1.0)
