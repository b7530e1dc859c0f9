"""Aggregates of runs: arithmetic by hand, all resamples of small samples, and how often the intervals hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from textgym.metrics import (
    interquartile_mean,
    interquartile_mean_band,
    interquartile_mean_interval,
    probability_of_improvement,
)
from textgym.types import Interval


@pytest.mark.parametrize(
    ("strata", "mean"),
    [
        ([[3.0]], 3.0),
        ([[0.0, 1.0, 5.0]], 2.0),  # a quarter of three is no whole run: nothing is left out
        ([[100.0, 1.0, 3.0, 2.0, -9.0]], (1 + 2 + 3) / 3),
        ([[1, 2, 3, 4, 5, 6, 7, 8]], (3 + 4 + 5 + 6) / 4),
        ([[0.0, 10.0], [1.0, 2.0]], (1 + 2) / 2),  # the quarters are those of all environments together
        ([[0.0], [1.0, 2.0, 10.0]], (1 + 2) / 2),
    ],
)
def test_the_middle_half_is_averaged(strata: list[list[float]], mean: float) -> None:
    assert interquartile_mean(strata) == pytest.approx(mean)
    assert interquartile_mean_interval(strata, resamples=10).mean == pytest.approx(mean)


def test_all_resamples_of_two_runs() -> None:
    # 00, 01, 10, 11 are equally likely: means 0, 1/2, 1/2, 1
    assert interquartile_mean_interval([[0.0, 1.0]]) == Interval(0.5, 0.0, 1.0)


def test_runs_are_drawn_within_their_environment() -> None:
    # within the environments nothing varies; drawn from all four, there would be samples of 0 or 1 alone
    assert interquartile_mean_interval([[0.0, 0.0], [1.0, 1.0]]) == Interval(0.5, 0.5, 0.5)
    assert interquartile_mean_interval([[0.0, 0.0, 1.0, 1.0]]) == Interval(0.5, 0.0, 1.0)


def test_the_bounds_are_quantiles_of_all_resamples() -> None:
    scores = [0.0, 1.0, 2.0, 4.0]
    means = np.array([sum(sorted(drawn)[1:3]) / 2 for drawn in itertools.product(scores, repeat=4)])
    found = interquartile_mean_interval([scores], resamples=50_000)
    assert found.mean == 1.5
    for bound, share in ((found.low, 0.025), (found.high, 0.975)):
        assert (means < bound - 1e-9).mean() < share < (means <= bound + 1e-9).mean()


def test_a_single_run_says_nothing_about_others() -> None:
    assert interquartile_mean_interval([[2.0]]) == Interval(2.0, -np.inf, np.inf)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = [np.random.default_rng(1).normal(size=7)]
    assert interquartile_mean_interval(scores) == interquartile_mean_interval(scores)
    assert interquartile_mean_interval(scores, resamples=50) != interquartile_mean_interval(
        scores, resamples=50, seed=1
    )


def test_a_band_has_the_interval_of_every_point() -> None:
    curves = np.random.default_rng(0).normal(size=(5, 7)).cumsum(axis=1)
    band = interquartile_mean_band(curves, resamples=20_000)
    points = [interquartile_mean_interval([curves[:, place]], resamples=20_000) for place in range(7)]
    assert np.allclose(band.mean, [each.mean for each in points])
    assert np.allclose(band.low, [each.low for each in points], atol=0.05)
    assert np.allclose(band.high, [each.high for each in points], atol=0.05)
    alone = interquartile_mean_band(curves[:1])
    assert (alone.mean == curves[0]).all()
    assert (alone.low == alone.high).all()
    with pytest.raises(ValueError, match="expected curves of shape"):
        interquartile_mean_band(curves[0])


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [
        ([[1, 2, 3]], [[0, 2, 5]], (1 + 1.5 + 2) / 9),
        ([[1, 2]], [[1, 2]], 0.5),
        ([[3, 4]], [[1, 2, 0]], 1.0),
        ([[1]], [[2]], 0.0),
        ([[1, 2, 3], [7]], [[0, 2, 5], [1]], (0.5 + 1.0) / 2),  # environments count alike, however many runs they have
    ],
)
def test_pairs_of_runs_are_compared(first: list[list[float]], second: list[list[float]], probability: float) -> None:
    found = probability_of_improvement(first, second)
    assert found.mean == pytest.approx(probability)
    assert probability_of_improvement(second, first).mean == pytest.approx(1 - probability)


def test_runs_of_both_algorithms_are_drawn_again() -> None:
    assert probability_of_improvement([[2.0]], [[0.0, 1.0]]) == Interval(1.0, 0.0, 1.0)  # of one run, nothing is known
    # of the second, 00 gives 1, 02 and 20 give 1/2, 22 gives 0
    assert probability_of_improvement([[1.0, 1.0]], [[0.0, 2.0]]) == Interval(0.5, 0.0, 1.0)
    # 5 against 5: what does not overlap has no width, whatever comes with more runs
    assert probability_of_improvement([[5, 6, 7, 8, 9]], [[0, 1, 2, 3, 4]]) == Interval(1.0, 1.0, 1.0)
    found = probability_of_improvement([[0, 2, 4, 6, 8]], [[1, 3, 5, 7, 9]])
    assert found.mean == pytest.approx((0 + 1 + 2 + 3 + 4) / 25)
    assert 0.0 <= found.low < 0.1
    assert 0.7 < found.high <= 0.9


@pytest.mark.parametrize(("runs", "covered"), [(3, 0.73), (5, 0.90), (10, 0.93)])
def test_how_often_the_interval_holds(runs: int, covered: float) -> None:
    rng = np.random.default_rng(0)
    intervals = [interquartile_mean_interval([rng.normal(size=runs)], resamples=300) for _ in range(600)]
    assert np.mean([each.low <= 0 <= each.high for each in intervals]) == pytest.approx(covered, abs=0.04)


@pytest.mark.parametrize("strata", [[], [[]], [[1.0, np.nan]], [[[1.0]]]])
def test_what_is_no_score_is_refused(strata: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"^expected .*scores.*, got .*; (give|leave)"):
        interquartile_mean(strata)


def test_both_algorithms_ran_on_the_same_environments() -> None:
    with pytest.raises(ValueError, match="on the same environments, got 1 and 2 lists"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
