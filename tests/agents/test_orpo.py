"""Odds-ratio preference optimization by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.agents.preference_data import make
from textgym.models.log_probs import response_log_probs


def test_the_loss_by_hand() -> None:
    """Cross-entropy of the chosen response, and the odds of both."""
    agent = make("orpo", beta=0.25)
    rows = [0, 5, 9]
    loss, statistics = agent.loss(rows, np.random.default_rng(0))
    imitation, ratio, leads = [], [], []
    for row in rows:
        item = agent.items[row]
        sums = response_log_probs(agent.text_model, [item.prompt] * 2, [item.chosen, item.rejected])
        chances = np.exp(sums / 2)  # of a token, on average, of two
        odds = np.log(chances / (1 - chances))
        imitation.append(-sums[0] / 2)
        ratio.append(math.log1p(math.exp(-(odds[0] - odds[1]))))
        leads.append(0.25 * (odds[0] - odds[1]))
    assert loss.item() == pytest.approx(np.mean(imitation) + 0.25 * np.mean(ratio), abs=1e-4)
    assert statistics["sft_loss"].item() == pytest.approx(np.mean(imitation), abs=1e-4)
    assert statistics["odds_ratio_loss"].item() == pytest.approx(np.mean(ratio), abs=1e-4)
    assert statistics["margin"].item() == pytest.approx(np.mean(leads), abs=1e-4)


def test_the_chosen_texts_become_likely() -> None:
    agent = make("orpo")
    agent.learn(40)
    assert agent.history[-1]["log_prob_chosen"] > agent.history[0]["log_prob_chosen"] + 1
