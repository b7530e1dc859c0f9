"""The paired permutation test, against counts by hand and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from textgym.metrics import paired_difference_interval, paired_test


def test_counts_by_hand() -> None:
    # of the eight signs of (1, 2, 3) only +++ and --- reach 6; of (1, 2, -3) all reach 0
    assert paired_test([1, 2, 3], [0, 0, 0]).p_value == 2 / 8
    assert paired_test([1, 2, 0], [0, 0, 3]).p_value == 1.0
    assert paired_test([3, 1, 1], [0, 0, 0]).p_value == 2 / 8
    assert paired_test([3, 2, 0], [0, 0, 1]).p_value == 4 / 8  # |4|: +++ of (3, 2, -1) and +--, and their opposites


def test_five_prompts_show_nothing_and_six_do() -> None:
    assert paired_test([0.9] * 5, [0.1] * 5).p_value == 2 / 32
    assert paired_test([0.9] * 6, [0.1] * 6).p_value == 2 / 64


def test_it_equals_all_exchanges_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 9, 13):
        first, second = rng.normal(0.4, 1, n), rng.normal(0, 1, n)
        expected = permutation_test(
            (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert paired_test(first, second).p_value == pytest.approx(expected)


def test_random_exchanges_come_close_to_all() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.3, 1, 16), rng.normal(0, 1, 16)
    every = permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue
    found = paired_test(first, second)
    assert found.p_value == pytest.approx(every, abs=4 * np.sqrt(every * (1 - every) / 9999))
    assert paired_test(first, second) == found  # the seed is fixed
    assert paired_test(second, first).p_value == pytest.approx(found.p_value, abs=0.03)


def test_a_p_value_is_never_zero() -> None:
    assert paired_test(np.ones(100), np.zeros(100)).p_value == 1 / 10_000


def test_texts_to_one_prompt_are_exchanged_together() -> None:
    first, second, prompts = [1.0] * 8, [0.0] * 8, ["a", "a", "a", "a", "b", "b", "c", "c"]
    found = paired_test(first, second, prompts)
    assert (found.p_value, found.prompts) == (2 / 8, 3)
    assert paired_test(first, second).p_value == 2 / 256


def test_equal_systems_and_the_interval() -> None:
    values = [0.1, 0.7, 0.3]
    same = paired_test(values, values)
    assert (same.p_value, same.difference.mean) == (1.0, 0.0)
    other = [0.3, 0.6, 0.9]
    assert paired_test(values, other).difference == paired_difference_interval(values, other)


def test_it_rejects_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    rejected = [paired_test(*rng.exponential(1, (2, 12))).p_value <= 0.05 for _ in range(800)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.023)  # three standard errors


def test_huge_numbers_and_wrong_input() -> None:
    assert paired_test([1e300, 2e300, 3e300], [0, 0, 0]).p_value == 2 / 8
    with pytest.raises(ValueError, match="two paired lists of one length, got 2 and 1"):
        paired_test([1, 2], [1])
    with pytest.raises(ValueError, match="at least 1 permutation"):
        paired_test([1], [2], permutations=0)
