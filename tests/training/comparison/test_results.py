"""Aggregates and curves of runs whose numbers are easy to reckon with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.comparison.records_made_up import compared, evaluated, interval, made_up, with_after
from textgym.metrics import interquartile_mean_interval, probability_of_improvement
from textgym.training.comparison import Comparison

ENDS = {"ppo": (0.9, 0.5, 0.7, 0.8, 0.6), "reinforce": (0.5, 0.6, 0.4, 0.55, 0.3)}


@pytest.fixture
def comparison() -> Comparison:
    runs = [made_up(label, seed, (0.2, end)) for label, ends in ENDS.items() for seed, end in enumerate(ends)]
    return compared(*runs, *(evaluated("random", seed, 0.1) for seed in range(5)))


def test_seeds_are_aggregated(comparison: Comparison) -> None:
    found = comparison.after("reward", "ppo")
    assert found == interquartile_mean_interval([ENDS["ppo"]])
    assert found is not None
    assert found.mean == pytest.approx(0.7)
    change = comparison.change("reward", "ppo")
    assert change is not None
    assert (change.before, change.after, change.difference.mean) == pytest.approx((0.2, 0.7, 0.5))
    assert comparison.change("reward", "random") is None
    assert comparison.after("bleu", "ppo") is None


def test_the_best_comes_first_and_order_is_kept_otherwise(comparison: Comparison) -> None:
    assert comparison.labels == ["ppo", "reinforce", "random"]
    assert comparison.ranked == ["ppo", "reinforce", "random"]
    assert compared(*reversed(comparison.runs)).ranked == ["ppo", "reinforce", "random"]
    assert repr(comparison) == "<Comparison on TextSpell-v0, 1,000 tokens: ppo 0.7, reinforce 0.483, random 0.1>"


def test_notebooks_show_a_table(comparison: Comparison) -> None:
    page = comparison._repr_html_()
    assert "&lt;Comparison on TextSpell-v0" in page
    assert page.index(">ppo<") < page.index(">reinforce<") < page.index(">random<")


def test_improvement_is_that_of_the_runs(comparison: Comparison) -> None:
    found = comparison.improvement("reward", "ppo", "reinforce")
    assert found == probability_of_improvement([ENDS["ppo"]], [ENDS["reinforce"]])
    assert comparison.improvement("rouge", "ppo", "reinforce") is None


def test_the_start_model_is_measured_once_for_each_seed() -> None:
    runs = [made_up(label, seed, (0.2 + seed, 1.0)) for label in ("a", "b") for seed in range(3)]
    tabular = made_up("c", 0, (9.0, 9.0))
    no_model = replace(tabular, before={"reward": interval(9.0)})  # no KL: it is no language model
    start = compared(no_model, *runs).start("reward")
    assert start is not None
    assert start.mean == pytest.approx(1.2)
    assert compared(no_model).start("reward") is None


def test_curves_are_interpolated_and_end_with_the_longest_run() -> None:
    short = made_up("a", 0, (0.0, 1.0))
    half = tuple(
        point._replace(spent=point.spent._replace(tokens=(point.spent.tokens or 0) / 2)) for point in short.points
    )
    comparison = compared(replace(short, points=half), made_up("a", 1, (0.0, 1.0)))
    curve = comparison.curve("reward", "a", "tokens")
    assert curve is not None
    assert (curve.spent[0], curve.spent[-1]) == (0.0, 1000.0)
    middle = np.interp(500, curve.spent, curve.mean)
    assert middle == pytest.approx((1.0 + 0.5) / 2, abs=0.01)  # the shorter run stays where it ended
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()
    assert np.interp(500, curve.spent, curve.low) == pytest.approx(0.5, abs=0.03)
    assert comparison.curve("gold", "a", "tokens") is None


def test_an_agent_that_learns_nothing_has_no_curve(comparison: Comparison) -> None:
    assert comparison.curve("reward", "random", "seconds") is None
    curve = comparison.curve("reward", "ppo", "seconds")
    assert curve is not None
    assert curve.spent[-1] == 10.0


def test_failed_runs_count_nowhere() -> None:
    failed = made_up("a", 1, (0.0, 9.0), after={}, failure="expected a finite loss, got nan")
    comparison = compared(made_up("a", 0, (0.0, 1.0)), failed)
    assert [run.seed for run in comparison.finished("a")] == [0]
    found = comparison.after("reward", "a")
    assert found is not None
    assert found.mean == 1.0
    assert compared(failed).after("reward", "a") is None


def test_samples_are_those_of_the_first_seed() -> None:
    runs = [made_up(label, seed, (0.0, reward)) for label, reward in (("a", 0.2), ("b", 0.8)) for seed in (0, 1)]
    ((shown, texts),) = compared(*runs, evaluated("random", 0, 0.1)).samples()
    assert (shown.prompt, shown.before) == ("abc=", "bbb")
    assert {label: sample.reward for label, sample in texts.items()} == {"b": 0.8, "a": 0.2, "random": 0.1}


def test_costs() -> None:
    comparison = compared(*(made_up("a", seed, (0.0, 1.0)) for seed in range(2)))
    found = comparison.cost("a", lambda run: run.spent.seconds)
    assert found is not None
    assert found.mean == 10.0
    assert comparison.cost("a", lambda run: run.gpu_memory) is None
    measures = compared(with_after(made_up("a", 0, (0.0, 1.0)), rouge=0.5)).measures()
    assert measures == ["length", "kl", "diversity", "eos", "reward", "gold", "rouge"]
