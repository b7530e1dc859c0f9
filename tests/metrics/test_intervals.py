"""Intervals against textbook numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.metrics import mean_interval, paired_difference_interval, proportion_interval
from textgym.metrics.intervals import _t_quantile


def test_mean_interval_of_five_numbers_by_hand() -> None:
    # mean 3, sd sqrt(2.5), t(4) = 2.776445: half width 2.776445 * sqrt(2.5 / 5) = 1.963243
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3.0, 1.036757, 4.963243), abs=1e-6)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (30, 2.042272), (31, 2.039513), (1000, 1.962339)])
def test_t_quantiles_equal_the_tables(degrees: int, quantile: float) -> None:
    assert _t_quantile(degrees) == pytest.approx(quantile, abs=2e-6)


def test_t_quantile_falls_to_the_normal_one() -> None:
    quantiles = [_t_quantile(degrees) for degrees in range(1, 200)]
    assert all(a > b for a, b in pairwise(quantiles))
    assert _t_quantile(10**9) == pytest.approx(1.959964, abs=1e-6)


def test_one_value_has_infinite_bounds() -> None:
    assert mean_interval([2.0]) == (2.0, -math.inf, math.inf)


def test_paired_difference_ignores_the_spread_between_items() -> None:
    items = np.array([0.0, 100.0, -50.0, 7.0])
    assert paired_difference_interval(items + 1, items) == pytest.approx((1.0, 1.0, 1.0))


def test_wilson_by_hand() -> None:
    # Newcombe (1998), table I: 81 of 263 -> 0.2553 .. 0.3662; 0 of 20 -> 0 .. 0.1611
    assert proportion_interval(81, 263) == pytest.approx((81 / 263, 0.2553, 0.3662), abs=1e-4)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.0, 0.1611), abs=1e-4)


def test_nothing_tried_means_nothing_known() -> None:
    assert proportion_interval(0, 0) == (0.5, 0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_proportion_lies_in_its_interval(counts: tuple[int, int]) -> None:
    interval = proportion_interval(*counts)
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1


def test_coverage_is_near_95_percent() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=8)) for _ in range(2000)]
    assert np.mean([interval.low <= 0 <= interval.high for interval in intervals]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0]]])
def test_unusable_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        mean_interval(values)


def test_impossible_counts_and_unpaired_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 successes of 2"):
        proportion_interval(3, 2)
    with pytest.raises(ValueError, match="got 1 and 2 values"):
        paired_difference_interval([1.0], [1.0, 2.0])
