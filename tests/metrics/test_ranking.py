"""Measures of recommendations, by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textgym.metrics import click_through, mean_interval, ndcg, regret

GAINS = [3, 2, 3, 0, 1, 2]


def test_the_example_of_the_literature() -> None:
    assert ndcg(GAINS) == pytest.approx(0.9488107485678985)
    assert ndcg(GAINS, exponential=False) == pytest.approx(0.9608081943360617)


def test_by_hand() -> None:
    assert ndcg([0, 1]) == pytest.approx(1 / math.log2(3))
    assert ndcg([0, 1], k=1) == 0.0
    assert ndcg([1], among=[0, 1, 2]) == pytest.approx(1 / (3 + 1 / math.log2(3)))
    assert ndcg([2], among=[0, 1, 2], k=1) == 1.0
    assert ndcg([0, 0]) == 0.0


def test_it_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        gains = rng.integers(0, 4, 8)
        order = -np.arange(8.0)
        expected = metrics.ndcg_score([gains], [order], k=5) if gains.any() else 0.0
        assert ndcg(gains, k=5, exponential=False) == pytest.approx(expected)


def test_wrong_relevances() -> None:
    with pytest.raises(ValueError, match="relevances of 0 or above"):
        ndcg([-1, 2])
    with pytest.raises(ValueError, match="better than the best of among"):
        ndcg([3], among=[1, 2])
    with pytest.raises(ValueError, match="k=0"):
        ndcg([1], k=0)


def test_click_through() -> None:
    clicks, users = [1, 0, 0, 1, 0], ["a", "a", "b", "b", "b"]
    assert click_through(clicks, users) == mean_interval(clicks, users, share=True)
    assert click_through(clicks).mean == 0.4
    # half of the people look at the second place: its click stands for two
    assert click_through([1, 1, 0, 0], propensities=[1, 0.5, 1, 0.5]).mean == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="1 for every click"):
        click_through([0, 2])
    with pytest.raises(ValueError, match="2 probabilities in"):
        click_through([0, 1], propensities=[0.0, 1.0])


def test_regret() -> None:
    assert regret([0.2, 0.9], [0.8, 0.9]) == pytest.approx([0.6, 0.0])
    assert regret([0.1 + 0.2], [0.3]).tolist() == [0.0]  # rounding is no choice better than the best
    with pytest.raises(ValueError, match=r"best value of at least 0\.9 at index 1, got 0\.5"):
        regret([0.2, 0.9], [0.8, 0.5])
    with pytest.raises(ValueError, match="one best value per choice"):
        regret([0.2], [0.8, 0.5])
