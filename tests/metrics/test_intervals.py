"""Intervals against textbook numbers."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.metrics import (
    clustered_proportion_interval,
    mean_interval,
    paired_difference_interval,
    proportion_interval,
)
from textgym.metrics.intervals import _t_quantile
from textgym.types import FloatArray, Interval

Draw = Callable[[np.random.Generator, int], FloatArray]
NORMAL: Draw = lambda rng, n: rng.normal(size=n)  # noqa: E731
EXPONENTIAL: Draw = lambda rng, n: rng.exponential(size=n)  # noqa: E731
LOG_NORMAL: Draw = lambda rng, n: np.exp(rng.normal(size=n))  # noqa: E731
PRIZES: Draw = lambda rng, n: 5.0 * (rng.random(n) < 0.3) - 1.0  # noqa: E731


def covered(intervals: Iterable[Interval], mean: float) -> float:
    """Share of intervals that hold the true mean."""
    return float(np.mean([interval.low <= mean <= interval.high for interval in intervals]))


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


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least"),
    [
        (NORMAL, 0.0, 5, 0.94),
        (NORMAL, 0.0, 20, 0.94),
        (EXPONENTIAL, 1.0, 20, 0.94),
        (LOG_NORMAL, math.exp(0.5), 10, 0.91),
        (LOG_NORMAL, math.exp(0.5), 20, 0.93),
        (LOG_NORMAL, math.exp(0.5), 100, 0.94),
        (PRIZES, 0.5, 20, 0.94),
    ],
)
def test_skewed_values_are_covered(draw: Draw, mean: float, n: int, least: float) -> None:
    rng = np.random.default_rng(1)
    assert covered([mean_interval(draw(rng, n)) for _ in range(800)], mean) >= least


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 8, 10, 20, 30, 50, 100, 300])
@pytest.mark.parametrize(("draw", "mean"), [(NORMAL, 0.0), (EXPONENTIAL, 1.0), (LOG_NORMAL, math.exp(0.5))])
def test_coverage_at_every_size(draw: Draw, mean: float, n: int) -> None:
    rng = np.random.default_rng(2)
    share = covered([mean_interval(draw(rng, n)) for _ in range(5000)], mean)
    least = {5: 0.89, 8: 0.91, 10: 0.92}.get(n, 0.935) if draw is LOG_NORMAL else {5: 0.93}.get(n, 0.94)
    assert least <= share <= 0.98


@pytest.mark.parametrize("n", [5, 20, 100, 300])
def test_shares_are_covered_however_rare_they_are(n: int) -> None:
    """Exact, from the binomial distribution: Student's interval covers 0.64 at 1 of 20."""
    intervals = [mean_interval(np.arange(n) < hits) for hits in range(n + 1)]
    ways = [math.comb(n, hits) for hits in range(n + 1)]
    for share in (0.003, 0.01, 0.05, 0.1, 0.3, 0.5, 0.97):
        weights = [ways[hits] * share**hits * (1 - share) ** (n - hits) for hits in range(n + 1)]
        kept = [w for w, one in zip(weights, intervals, strict=True) if one.low <= share <= one.high]
        assert sum(kept) >= 0.95


def clustered(rng: np.random.Generator, sizes: Sequence[int], alike: float) -> tuple[FloatArray, list[int]]:
    """Standard normal numbers of which those of a cluster correlate by ``alike``."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    common, own = rng.normal(size=len(sizes))[clusters], rng.normal(size=len(clusters))
    return math.sqrt(alike) * common + math.sqrt(1 - alike) * own, clusters.tolist()


@pytest.mark.parametrize("sizes", [[4] * 20, [1, 2, 3, 4, 5, 6, 7, 8] * 3], ids=["equal", "unequal"])
@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_rows_about_one_thing_are_covered(sizes: list[int], alike: float) -> None:
    rng = np.random.default_rng(3)
    samples = [clustered(rng, sizes, alike) for _ in range(500)]
    assert covered([mean_interval(*sample) for sample in samples], 0.0) >= 0.935
    skewed = [mean_interval(np.exp(values), clusters) for values, clusters in samples]
    assert covered(skewed, math.exp(0.5)) >= 0.915
    rare = [mean_interval(values > 1.281552, clusters) for values, clusters in samples]  # 1 with probability 0.1
    assert covered(rare, 0.1) >= 0.91  # few clusters hold them all where they are alike
    falls_short = [mean_interval(values) for values, _ in samples]
    assert alike == 0.0 or covered(falls_short, 0.0) < 0.8


def test_copies_of_a_row_say_nothing_new() -> None:
    values = np.array([0.1, 0.5, 0.2, 0.9, 0.4, 0.3])
    copies = mean_interval(np.repeat(values, 50), np.repeat(np.arange(6), 50).tolist())
    assert copies == pytest.approx(mean_interval(values))
    hits = np.array([1.0, 0.0, 0.0, 1.0])
    repeated = mean_interval(np.repeat(hits, 9), np.repeat(list("abcd"), 9).tolist())
    assert repeated.low <= mean_interval(hits).low
    assert repeated.high >= mean_interval(hits).high


def test_one_cluster_says_nothing_about_spread() -> None:
    assert mean_interval([1.0, 2.0, 4.0], ["a"] * 3)[1:] == (-math.inf, math.inf)
    interval = mean_interval([1.0, 0.0, 1.0], ["a"] * 3)
    assert interval.low < 0.05
    assert interval.high > 0.95
    assert clustered_proportion_interval([1.0, 0.0] * 50, ["a"] * 100) == proportion_interval(0.5, 1)


def test_exact_bounds_of_shares_by_hand() -> None:
    assert mean_interval([0.0] * 20) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 20)))
    assert mean_interval([1] * 20) == pytest.approx((1.0, 0.025 ** (1 / 20), 1.0))
    assert mean_interval([1] + [0] * 9) == pytest.approx((0.1, 0.0025286, 0.4450161), abs=1e-6)  # Clopper, Pearson


def test_a_share_can_be_named_or_denied() -> None:
    assert mean_interval([0.0, 0.0, 0.0], share=False) == (0.0, 0.0, 0.0)
    assert mean_interval([0.0, 0.5, 1.0], share=True).high <= 1.0
    with pytest.raises(ValueError, match=r"expected values of a share in \[0, 1\], got 0.0 to 2.0"):
        mean_interval([0.0, 2.0], share=True)
    with pytest.raises(ValueError, match="expected one cluster per value, got 1 for 2 values"):
        mean_interval([0.0, 2.0], ["a"])


def test_symmetric_values_have_students_interval() -> None:
    values = np.array([-3.0, -1.0, 0.0, 0.0, 1.0, 3.0])
    half = 2.570582 * values.std(ddof=1) / math.sqrt(6)
    assert mean_interval(values) == pytest.approx((0.0, -half, half), abs=1e-6)


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=30), st.integers(1, 5))
def test_any_numbers_have_an_interval(values: list[float], groups: int) -> None:
    for clusters in (None, [place % groups for place in range(len(values))]):
        interval = mean_interval(np.array(values) / len(values), clusters)
        assert interval.low <= interval.mean <= interval.high


@pytest.mark.filterwarnings("error")
def test_huge_numbers_have_the_interval_of_small_ones() -> None:
    for values in ([1.0, 1.0, -1.0], [1.0, 2.5, 4.0, 9.0], [1.0, -1.0] * 4):
        expected = mean_interval(values)
        for unit in (2.0**900, 2.0**1018):
            assert mean_interval(np.array(values) * unit) == pytest.approx([bound * unit for bound in expected])
    interval = mean_interval([1e308, 1e308, -1e308])
    assert interval.mean == pytest.approx(1e308 / 3)
    assert (interval.low, interval.high) == (-math.inf, math.inf)  # beyond what floats hold
    assert paired_difference_interval([1e308, 0.9e308], [-0.5e308, -0.6e308]).mean == pytest.approx(1.5e308)


def test_difference_of_rare_shares_has_a_width() -> None:
    same = paired_difference_interval([0, 0, 1, 0] * 5, [0, 0, 1, 0] * 5)
    assert same.mean == 0
    assert same.low == -same.high == pytest.approx(-1.959964 * math.sqrt(2) / 22)  # Bonett, Price: (1 + 1) / 22^2
    rng = np.random.default_rng(4)
    pairs = rng.random((600, 2, 20)) < np.array([[0.10], [0.05]])
    assert covered([paired_difference_interval(first, second) for first, second in pairs], 0.05) >= 0.94
