"""Accuracy, temperature and reliability against known answers."""

import math
from dataclasses import asdict
from typing import cast

import numpy as np
import pytest

from textgym.reward_models.calibration import (
    Calibration,
    calibrate,
    fit_temperature,
    reliability,
    sigmoid,
)
from textgym.types import FloatArray


def choices(temperature: float, n: int = 20_000) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    differences = rng.normal(scale=3, size=n)
    return differences, cast(FloatArray, (rng.random(n) < sigmoid(differences / temperature)).astype(np.float64))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_of_the_choices_is_found(temperature: float) -> None:
    assert fit_temperature(*choices(temperature)) == pytest.approx(temperature, rel=0.08)


def test_temperature_by_hand() -> None:
    # difference 2 wins 3 times of 4, with the imagined answers 4 times of 6: sigmoid(2 / T) = 2 / 3, T = 2 / log 2
    found = fit_temperature(np.full(4, 2.0), np.array([1.0, 1.0, 1.0, 0.0]))
    assert found == pytest.approx(2 / math.log(2), rel=1e-4)


@pytest.mark.parametrize("labels", [[1.0], [0.0], [0.5]])
def test_temperature_is_finite_whatever_little_is_held_out(labels: list[float]) -> None:
    assert 0.001 <= fit_temperature(np.array([1.0]), np.array(labels)) <= 1000
    assert fit_temperature(np.zeros(0), np.zeros(0)) == 1.0


def test_reliability_by_hand() -> None:
    bins = reliability(np.array([0.95, 0.05, 0.52, 0.5]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert bins[0] == pytest.approx((0.5, 0.6, 0.51, 0.75, 2))
    assert bins[1] == pytest.approx((0.9, 1.0, 0.95, 0.5, 2))


def test_calibration_removes_overconfidence() -> None:
    differences, labels = choices(4.0)
    calibration = calibrate(differences, labels)
    assert calibration is not None
    assert calibration.expected_calibration_error < 0.02
    raw = reliability(sigmoid(differences), labels)
    assert sum(item.pairs * abs(item.predicted - item.observed) for item in raw) / len(labels) > 0.1


def test_no_prompt_evaluates_the_temperature_that_it_fitted() -> None:
    differences, labels = choices(4.0, n=100)
    prompts = ["sure", "unsure"] * 50
    labels[::2] = differences[::2] > 0  # one prompt's choices are noisier than the other's
    apart = np.argsort(np.array(prompts), kind="stable")
    ordered = calibrate(differences[apart], labels[apart], [prompts[place] for place in apart])
    mixed, unaware = calibrate(differences, labels, prompts), calibrate(differences, labels)
    assert ordered is not None
    assert mixed is not None
    assert unaware is not None
    assert mixed.expected_calibration_error == pytest.approx(ordered.expected_calibration_error)
    assert mixed.expected_calibration_error > unaware.expected_calibration_error + 0.01


def test_swapping_the_names_of_the_texts_changes_nothing() -> None:
    differences, labels = choices(1.0, n=101)
    first, second = calibrate(differences, labels), calibrate(-differences, 1 - labels)
    assert first is not None
    assert second is not None
    assert first.temperature == pytest.approx(second.temperature)
    assert first.expected_calibration_error == pytest.approx(second.expected_calibration_error)


def test_nothing_held_out_is_no_calibration() -> None:
    assert calibrate(np.zeros(0), np.zeros(0)) is None


def test_a_few_right_answers_are_no_certainty() -> None:
    assert calibrate(np.ones(29), np.ones(29)) is None
    assert calibrate(np.ones(100), np.full(100, 0.5)) is None
    calibration = calibrate(np.ones(30), np.ones(30))
    assert calibration is not None
    assert 0.9 < 1 / (1 + math.exp(-1 / calibration.temperature)) < 0.98


def test_json_round_trip() -> None:
    calibration = calibrate(*choices(1.0, n=50))
    assert calibration is not None
    assert Calibration.from_json(asdict(calibration)) == calibration
