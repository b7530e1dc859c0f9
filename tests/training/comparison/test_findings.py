"""Sentences about agents follow from their numbers by the stated rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.comparison.records_made_up import compared, evaluated, interval, made_up, with_after
from textgym.training.comparison import Comparison, RunRecord
from textgym.training.comparison.findings import findings_of, headline_of

JITTER = (-0.01, 0.0, 0.01)
RISES = (0.2, 0.5, 0.7, 0.8, 0.8, 0.8)


def runs(rewards: tuple[float, ...] = RISES, **after: float) -> list[RunRecord]:
    """Three seeds, whose ends differ a little."""
    made = []
    for seed, jitter in enumerate(JITTER):
        record = made_up("a", seed, (*rewards[:-1], rewards[-1] + jitter))
        made.append(with_after(record, **{name: value + jitter for name, value in after.items()}))
    return made


def said(comparison: Comparison) -> str:
    return " ".join(findings_of(comparison, "a"))


def test_a_reward_that_rose() -> None:
    text = said(compared(*runs()))
    assert text == (
        "Its reward rose by 0.600 [0.590, 0.610]: 0.200 to 0.800. It ended 1.500 nats per text from the start model. "
        "Half of the gain was there after about 210 tokens."
    )


def test_a_reward_that_fell_and_one_that_did_not_change() -> None:
    assert said(compared(*runs((0.8, 0.3)))).startswith("Its reward fell by 0.500 [0.490, 0.510]: 0.800 to 0.300.")
    assert said(compared(*runs((0.5, 0.5)))).startswith(
        "Its reward did not change measurably: 0.500 to 0.500 (+0.000 ["
    )


def test_a_single_seed_shows_numbers_and_no_change() -> None:
    text = said(compared(made_up("a", 0, (0.2, 0.9))))
    assert text.startswith(
        "Its reward went from 0.200 to 0.900 in its only run, which tells nothing of others. It ended"
    )


@pytest.mark.parametrize(
    ("gold", "sentence"),
    [
        (0.1, "Gold fell by 0.100 [0.090, 0.110] meanwhile (0.200 to 0.100): the reward is over-optimised."),
        (0.2, "Gold did not follow measurably: 0.200 to 0.200 (+0.000 [-0.010, 0.010])."),
        (0.4, "Gold rose by 0.200 [0.190, 0.210]: 0.200 to 0.400."),
    ],
)
def test_gold_is_compared_with_the_reward(gold: float, sentence: str) -> None:
    assert sentence in said(compared(*runs(gold=gold)))


def test_gold_that_is_the_reward_is_told_once() -> None:
    assert "Gold" not in said(compared(*runs()))


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ({"length": 8.0}, "Texts grew from 4.0 to 8.0 tokens."),
        ({"length": 2.0}, "Texts shrank from 4.0 to 2.0 tokens."),
        ({"diversity": 0.2}, "Texts collapsed: diversity fell from 0.80 to 0.20."),
        ({"diversity": 0.5}, "Diversity fell from 0.80 to 0.50."),
        ({"eos": 0.25}, "The share of texts that end by themselves went from 100 % to 25 %."),
    ],
)
def test_changes_of_texts_that_are_worth_a_sentence(after: dict[str, float], sentence: str) -> None:
    assert sentence in said(compared(*runs(**after)))


@pytest.mark.parametrize("after", [{"length": 4.5}, {"diversity": 0.75}, {"eos": 0.9}])
def test_small_changes_of_texts_are_not_told(after: dict[str, float]) -> None:
    assert said(compared(*runs(**after))) == said(compared(*runs()))


def test_a_curve_that_peaked_and_one_that_still_rises() -> None:
    peaked = said(compared(*runs((0.2, 0.6, 1.0, 0.8, 0.6, 0.5))))
    assert "Its curve peaked at about 410 tokens and fell back: 0.986 to 0.500." in peaked
    assert "still rising" not in peaked
    assert "The curve was still rising at the end." in said(compared(*runs((0.2, 0.3, 0.4, 0.5, 0.6, 0.7))))


def test_seeds_that_differ() -> None:
    ends = [made_up("a", seed, (0.2, end)) for seed, end in enumerate((0.3, 0.9, 0.5))]
    assert "Seeds differ: 0.300 to 0.900." in said(compared(*ends))


def test_budgets_that_were_not_spent_or_ended_a_run() -> None:
    slow = [replace(run, steps=600, planned=1000) for run in runs()]
    assert "The budget ended it at 60 % of the planned steps" in said(compared(*slow))
    fast = [replace(run, spent=run.spent._replace(tokens=700.0)) for run in runs()]
    assert "It made all of its steps with 700 tokens of 1,000 tokens." in said(compared(*fast))


def test_failures_and_warnings() -> None:
    failed = made_up("a", 9, (0.1, 0.2), after={}, failure="expected a finite loss, got nan")
    text = said(compared(*runs(), failed))
    assert "1 of 4 runs failed: expected a finite loss, got nan." in text
    assert said(compared(failed)) == "1 of 1 run failed: expected a finite loss, got nan. No run of it is finished."
    warned = [replace(run, warnings=(f"the KL is {seed} nats",)) for seed, run in enumerate(runs())]
    assert "Warned in 3 of 3 runs: the KL is 0 nats." in said(compared(*warned))
    assert "Warned" not in said(compared(warned[0], *runs()[1:]))


def test_an_agent_that_learns_nothing() -> None:
    comparison = compared(*(evaluated("a", seed, 0.4 + jitter) for seed, jitter in enumerate(JITTER)))
    assert said(comparison) == "It learns nothing, and was only evaluated: reward 0.400 [0.390, 0.410]."


def test_the_headline() -> None:
    assert headline_of(compared()) == "No run is finished yet."
    assert (
        headline_of(compared(*runs())) == "a has the highest reward, 0.800 [0.790, 0.810] (3 runs, 1,000 tokens each)."
    )
    others = [replace(made_up("b", seed, (0.2, 0.5)), after={"reward": interval(0.5)}) for seed in range(3)]
    assert headline_of(compared(*others, *runs())).endswith(
        "A run of it has more than one of b, the next, with probability 1.00 [1.00, 1.00]."
    )
