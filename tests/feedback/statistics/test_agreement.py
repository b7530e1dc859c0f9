"""Agreement: known answers, the public packages, what the numbers must not depend on."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from textgym.feedback.statistics.agreement import (
    Level,
    Weights,
    agreement_interval,
    alpha_over_time,
    cohen_kappa,
    collect_answers,
    krippendorff_alpha,
    position_bias,
    raw_agreement,
)
from textgym.feedback.types import Comparison, Ranking, Rating, Record, shown_order
from textgym.metrics.intervals import proportion_interval
from textgym.types import FloatArray, Interval

NAN = math.nan
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
# The worked example of Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section C: four observers,
# twelve units, missing values; his alphas are 0.743, 0.815 and 0.849.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
TABLES = st_numpy.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(0, 8)), elements=st.sampled_from([1.0, 2.0, 3.0, 5.0, NAN])
)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level: Level, alpha: float) -> None:
    assert krippendorff_alpha(OBSERVERS, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_by_hand() -> None:
    # Two annotators, three units: (1, 1), (2, 2), (1, 2). Observed: 2 of 6 ordered pairs differ; expected: 3 * 3 * 2 of
    # 6 * 5. alpha = 1 - (2 / 6) / (18 / 30)
    assert krippendorff_alpha(np.array([[1, 2, 1], [1, 2, 2]])) == pytest.approx(1 - (2 / 6) / (18 / 30))


@given(TABLES)
def test_alpha_is_that_of_the_public_package(values: FloatArray) -> None:
    package = pytest.importorskip("krippendorff")
    for level in LEVELS:
        ours = krippendorff_alpha(values, level)
        if ours is not None:
            theirs = package.alpha(reliability_data=values, level_of_measurement=level)
            assert ours == pytest.approx(theirs, abs=1e-9)
        else:
            pairable = values[:, (~np.isnan(values)).sum(axis=0) >= 2]
            assert len(np.unique(pairable[~np.isnan(pairable)])) < 2


@given(TABLES, st.randoms(use_true_random=False))
def test_alpha_does_not_depend_on_the_order_of_anything(values: FloatArray, random: Any) -> None:
    rows, columns = list(range(values.shape[0])), list(range(values.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    for level in LEVELS:
        one, two = krippendorff_alpha(values, level), krippendorff_alpha(values[rows][:, columns], level)
        assert (one is None and two is None) or one == pytest.approx(two)


@pytest.mark.parametrize("values", [np.zeros((0, 0)), np.full((3, 2), NAN), np.ones((2, 4)), np.array([[1.0], [NAN]])])
def test_alpha_and_agreement_of_nothing(values: FloatArray) -> None:
    assert krippendorff_alpha(values) is None


def test_kappa_by_hand() -> None:
    # Cohen's table 20 5 / 10 15: observed 35 / 50, expected 25 / 50 * 30 / 50 + 25 / 50 * 20 / 50 = 0.5
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [20, 5, 10, 15])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [20, 5, 10, 15])
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    # Both answered three units, (0, 0), (2, 2), (0, 2): one is one place off, by chance 2 * 2 / 3 + 1 * 1 / 3 would be.
    assert cohen_kappa(np.array([0, 2, 0, NAN]), np.array([0, 2, 2, 1]), "linear") == pytest.approx(0.4)


@given(st_numpy.arrays(np.int64, st.tuples(st.just(2), st.integers(1, 30)), elements=st.integers(1, 4)))
@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_is_that_of_scikit_learn(weights: Weights | None, values: FloatArray) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    ours = cohen_kappa(values[0].astype(np.float64), values[1].astype(np.float64), weights)
    if len(np.unique(values)) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(metrics.cohen_kappa_score(values[0], values[1], weights=weights), abs=1e-9)


def test_raw_agreement_by_hand() -> None:
    # units: 1 of 1 pairs, 1 of 3, none to compare, 0 of 1; mean 4 / 9
    values = np.array([[1, 1, 1, 1], [1, 1, NAN, 2], [NAN, 2, NAN, NAN]])
    found = raw_agreement(values)
    assert found is not None
    assert found.mean == pytest.approx(4 / 9)
    assert found == proportion_interval(4 / 3, 3)
    assert raw_agreement(values[:1]) is None


def test_questions_about_one_prompt_are_not_independent() -> None:
    asked = [(key, prompt) for prompt in "pqrs" for key in (f"{prompt}1", f"{prompt}2", f"{prompt}3")]
    records = [
        Comparison(key, prompt, "x", "y", "b" if (name, prompt) == ("bob", "p") else "a", annotator=name)
        for key, prompt in asked
        for name in ("ann", "bob")
    ]
    found = agreement_interval(records, Comparison)
    assert found == pytest.approx(proportion_interval(3, 4))  # alike within a prompt: four prompts say it, not twelve
    assert raw_agreement(collect_answers(records, Comparison).values) == pytest.approx(proportion_interval(9, 12))


def test_two_people_who_agreed_about_two_texts_may_disagree_about_the_next() -> None:
    found = raw_agreement(np.array([[1, 0], [1, 0]]))
    assert found is not None
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.3424, abs=1e-4)  # 1 / (1 + 1.96^2 / 2): Wilson's bound of 2 out of 2


def comparison(annotator: str, choice: Any, key: str = "k", swap: bool = False) -> Comparison:
    texts = ("y", "x") if swap else ("x", "y")
    return Comparison(key, "p", *texts, choice, annotator=annotator)


def test_answers_of_comparisons() -> None:
    records: list[Record] = [
        comparison("ann", "b"),
        comparison("bob", "b", swap=True),
        comparison("cy", "tie", swap=True),
        comparison("ann", "both_bad", "l"),
        comparison("bob", "a", "l"),
        comparison("ann", "a"),  # the later one counts
        Rating("k", "p", "x", 3),
    ]
    annotators, values = collect_answers(records, Comparison)
    assert annotators == ("ann", "bob", "cy")
    np.testing.assert_array_equal(values, [[1, 2], [1, 1], [0, NAN]])
    _, values = collect_answers(records, Comparison, "ordinal")
    np.testing.assert_array_equal(values, [[1, 0], [1, 1], [0, NAN]])


def test_answers_of_ratings_and_rankings() -> None:
    records: list[Record] = [
        Rating("k", "p", "x", 3, annotator="ann"),
        Rating("k", "p", "y", 4, annotator="ann"),
        Rating("k", "p", "x", 5, annotator="bob"),
        Ranking("k", "p", ("x", "y"), (1, 2), annotator="ann"),
        Ranking("k", "p", ("y", "x"), (1, 1), annotator="bob"),
    ]
    np.testing.assert_array_equal(collect_answers(records, Rating).values, [[3, 4], [5, NAN]])
    np.testing.assert_array_equal(collect_answers(records, Ranking).values, [[1, 2], [1, 1]])
    assert collect_answers([], Rating).values.shape == (0, 0)


def test_alpha_over_time() -> None:
    same = [comparison(name, "ab"[i % 2], f"k{i}") for i in range(10) for name in ("ann", "bob")]
    other = [replace(record, choice="a", task_key=f"l{i}") for i, record in enumerate(same)]
    contrary = [comparison(name, name, f"m{i}") for i in range(10) for name in ("a", "b")]
    found = alpha_over_time([*same, *other, *contrary], Comparison, points=6)
    assert [n for n, _ in found] == [10, 20, 30, 40, 50, 60]
    assert [alpha for _, alpha in found[:4]] == pytest.approx([1.0] * 4)
    assert found[4][1] > found[5][1]
    assert alpha_over_time([], Comparison) == []


def test_position_bias_by_hand() -> None:
    records = []
    for seed in range(40):
        first = "ab"[shown_order(2, seed)[0]]
        other = {"a": "b", "b": "a"}[first]
        records.append(replace(comparison("ann", first if seed < 30 else other), order_seed=seed))
    ignored = [comparison("ann", "a"), replace(comparison("ann", "tie"), order_seed=1)]
    assert position_bias([*records, *ignored]).mean == 0.75
    assert position_bias(records).low > 0.5
    assert position_bias(ignored) == Interval(0.5, 0.0, 1.0)
