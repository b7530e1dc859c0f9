"""Win rates and Bradley-Terry strengths."""

import math
from typing import Any

import numpy as np
import pytest

from textgym.feedback.statistics.strengths import bradley_terry_scores, win_rates
from textgym.feedback.types import Choice, Comparison, Ranking, Rating, Record
from textgym.metrics.intervals import proportion_interval
from textgym.types import Interval


def match(first: str, second: str, choice: Any, prompt: str = "p") -> Comparison:
    return Comparison("k", prompt, "x", "y", choice, generators=(first, second))


RNG = np.random.default_rng


def test_win_rates_by_hand() -> None:
    records: list[Record] = [
        match("new", "old", "a"),
        match("old", "new", "b"),
        match("new", "old", "b"),
        match("new", "old", "tie"),
        match("new", "old", "both_bad"),
        match("new", "new", "a"),
        Comparison("k", "p", "x", "y", "a"),
        Ranking("k", "p", ("x", "y", "z"), (2, 1, 2), generators=("new", "old", "ref")),
        Rating("k", "p", "x", 5, generators=("new",)),
    ]
    generators, wins, _ = rates = win_rates(records)
    assert generators == ("new", "old", "ref")
    assert wins.tolist() == [[0, 3, 0.5], [3, 0, 1], [0.5, 0, 0]]
    assert rates.rate(0, 1).mean == 0.5
    assert rates.rate(1, 2).mean == 1.0
    assert rates.rate(2, 2) == Interval(0.5, 0.0, 1.0)
    assert win_rates([]).generators == ()


def test_three_wins_to_one_is_log_three() -> None:
    records = [match("new", "old", choice) for choice in "aaab"]
    scores = bradley_terry_scores(records, RNG(0), prior_draws=0.0)
    assert list(scores) == ["new", "old"]
    assert scores["new"].mean - scores["old"].mean == pytest.approx(math.log(3), abs=1e-6)
    assert scores["new"].mean == pytest.approx(-scores["old"].mean)


def test_a_chain_of_three() -> None:
    """With 3:1 between neighbours the likelihood is greatest at 9:1 between the ends, whoever met."""
    records = [match("a", "b", choice) for choice in "aaab"] + [match("b", "c", choice) for choice in "aaab"]
    scores = bradley_terry_scores(records, RNG(0), prior_draws=0.0)
    assert scores["a"].mean - scores["c"].mean == pytest.approx(math.log(9), abs=1e-6)


def test_who_never_lost_is_not_infinitely_strong() -> None:
    scores = bradley_terry_scores([match("new", "old", "a")] * 20, RNG(0))
    assert 2 < scores["new"].mean - scores["old"].mean < 10
    assert all(map(math.isfinite, (*scores["new"], *scores["old"])))


@pytest.mark.parametrize("answers", [1, 2, 20])
def test_who_always_won_is_not_certain_to(answers: int) -> None:
    records = [match("new", "old", "a", f"p{number}") for number in range(answers)]
    scores = bradley_terry_scores(records, RNG(0))
    for interval in scores.values():
        assert interval.low < interval.mean - 0.2
        assert interval.high > interval.mean + 0.2
    assert (scores["new"].low < 0) == (answers == 1)  # one answer proves nothing


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """Strengths 1, 0, -1; 95 % intervals of the difference to the mean should hold them in most of 40 trials."""
    truth = {"s1": 1.0, "s2": 0.0, "s3": -1.0}
    covered = 0
    for seed in range(40):
        rng = RNG(seed)
        records: list[Record] = []
        for prompt in range(150):
            first, second = rng.choice(list(truth), size=2, replace=False)
            wins = rng.random() < 1 / (1 + math.exp(truth[second] - truth[first]))
            records.append(match(first, second, "a" if wins else "b", f"p{prompt}"))
        scores = bradley_terry_scores(records, rng)
        covered += sum(scores[name].low <= truth[name] <= scores[name].high for name in truth)
    assert 120 * 0.88 < covered <= 120


def test_repeated_answers_about_one_prompt_are_no_new_evidence() -> None:
    votes = [match("new", "old", "ab"[i % 3 == 0], f"p{i}") for i in range(30)]
    once, often = (bradley_terry_scores(votes * times, RNG(0), prior_draws=0.0)["new"] for times in (1, 10))
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)


def test_nothing_to_compare() -> None:
    assert bradley_terry_scores([], RNG(0)) == {}
    assert bradley_terry_scores([match("new", "new", "a")], RNG(0)) == {}


def test_answers_about_one_prompt_that_are_alike_are_worth_fewer() -> None:
    def compared(prompt: int, choice: Choice, annotator: int) -> Comparison:
        return Comparison("k", f"p{prompt}", "x", "y", choice, annotator=f"n{annotator}", generators=("g", "h"))

    # Four prompts, five people, who all say the same about each: as sure as four answers.
    alike = [compared(prompt, "a" if prompt else "b", number) for prompt in range(4) for number in range(5)]
    assert win_rates(alike).rate(0, 1) == pytest.approx(proportion_interval(3, 4))
    # Twenty prompts, one person: twenty answers.
    others = [compared(number, "a" if number % 4 else "b", 0) for number in range(20)]
    assert win_rates(others).rate(0, 1) == pytest.approx(proportion_interval(15, 20))
    always = [compared(prompt, "a", number) for prompt in range(4) for number in range(5)]
    assert win_rates(always).rate(0, 1) == pytest.approx(proportion_interval(4, 4))
