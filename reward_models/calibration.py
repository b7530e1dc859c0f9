"""Calibration of score differences as predictions of choices: temperature, reliability. Plain numpy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textgym.types import FloatArray, JsonObject

_LOG_TEMPERATURES = (float(np.log(1e-3)), float(np.log(1e3)))
_BINS = 5
FEWEST = 30
"""Held-out choices that a calibration takes: fewer say nothing about probabilities."""


class ReliabilityBin(NamedTuple):
    """Comparisons whose predicted probability (of the text the model prefers) lies in ``[low, high)``."""

    low: float
    high: float
    predicted: float
    observed: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The temperature of score differences as predictions of choices, and the error that is left.

    Attributes:
        temperature: ``sigmoid(raw score difference / temperature)`` is the probability of being preferred.
        expected_calibration_error: Mean distance between predicted and observed frequency, in ``[0, 1]``; each half
            of the held-out pairs is predicted with the temperature of the other half.
        bins: The frequencies it is the mean of; empty bins are left out.
    """

    temperature: float
    expected_calibration_error: float
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def from_json(cls, data: JsonObject) -> Calibration:
        """Read what ``dataclasses.asdict`` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        temperature = float(data["temperature"])
        if not 0 < temperature < np.inf:
            raise ValueError(f"expected a temperature above 0, got {temperature}")
        bins = tuple(ReliabilityBin(*row) for row in data["bins"])
        return cls(temperature, float(data["expected_calibration_error"]), bins)


def fit_temperature(differences: FloatArray, labels: FloatArray) -> float:
    """Temperature with which ``sigmoid(differences / temperature)`` has the least log loss, in ``[0.001, 1000]``.

    Labels are drawn towards 1/2 by one imagined answer of each kind (Platt), or a model that is always right would be
    called certain.

    The log loss is convex in ``1 / temperature``, hence has one minimum along the log temperature too; golden-section
    search finds it to 1e-6.

    Args:
        differences: Score of a minus score of b, shape ``(n,)``.
        labels: Preference for a in ``[0, 1]``, shape ``(n,)``.

    Returns:
        The temperature; 1 without data.

    References:
        Guo et al., "On calibration of modern neural networks" (2017), arXiv:1706.04599. On the imagined answers: Platt,
        "Probabilistic outputs for support vector machines" (1999).
    """
    if not len(differences):
        return 1.0
    labels = (len(labels) * labels + 1) / (len(labels) + 2)
    low, high = _LOG_TEMPERATURES
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _log_loss(differences, labels, left) <= _log_loss(differences, labels, right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def calibrate(differences: FloatArray, labels: FloatArray, prompts: Sequence[str] | None = None) -> Calibration | None:
    """Fit a temperature to held-out comparisons and measure how far it can be trusted.

    Args:
        differences: Raw score of a minus raw score of b, shape ``(n,)``.
        labels: Preference for a in ``[0, 1]``, shape ``(n,)``.
        prompts: Key of each pair's prompt: none both fits a temperature and evaluates it; all differ by default.

    Returns:
        The calibration, or ``None`` if fewer than 30 choices were held out.
    """
    if (labels != 0.5).sum() < FEWEST:
        return None
    probabilities = _cross_fitted(differences, labels, range(len(labels)) if prompts is None else prompts)
    bins = tuple(reliability(probabilities, labels))
    error = sum(item.pairs * abs(item.predicted - item.observed) for item in bins) / len(labels)
    return Calibration(fit_temperature(differences, labels), float(error), bins)


def reliability(probabilities: FloatArray, labels: FloatArray) -> Sequence[ReliabilityBin]:
    """Compare predicted with observed frequencies in five bins of [0.5, 1].

    Every comparison is read so that the text with the higher score comes first, hence nothing depends on which text was
    called a.

    Args:
        probabilities: Predicted probability that a is preferred, shape ``(n,)``.
        labels: Preference for a in ``[0, 1]``, shape ``(n,)``.

    Returns:
        The bins that hold something, from unsure to sure.
    """
    sure = np.maximum(probabilities, 1 - probabilities)
    right = np.where(probabilities >= 0.5, labels, 1 - labels)
    right = np.where(probabilities == 0.5, 0.5, right)
    edges = np.linspace(0.5, 1.0, _BINS + 1)
    places = np.clip(np.digitize(sure, edges) - 1, 0, _BINS - 1)
    return [
        ReliabilityBin(
            float(edges[place]),
            float(edges[place + 1]),
            float(sure[places == place].mean()),
            float(right[places == place].mean()),
            int((places == place).sum()),
        )
        for place in np.unique(places)
    ]


def sigmoid(values: FloatArray) -> FloatArray:
    """Logistic function without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(np.asarray(values, dtype=np.float64) / 2))


def _cross_fitted(differences: FloatArray, labels: FloatArray, prompts: Sequence[Hashable]) -> FloatArray:
    """Probabilities about each half of the prompts under the temperature of the other half, shape (n,)."""
    different = list(dict.fromkeys(prompts))
    if len(different) < 2:
        return sigmoid(differences / fit_temperature(differences, labels))
    probabilities = np.empty(len(differences))
    first = set(different[: len(different) // 2])
    half = np.array([prompt in first for prompt in prompts])
    for fold in (half, ~half):
        probabilities[fold] = sigmoid(differences[fold] / fit_temperature(differences[~fold], labels[~fold]))
    return probabilities


def _log_loss(differences: FloatArray, labels: FloatArray, log_temperature: float) -> float:
    logits = differences / np.exp(log_temperature)
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))
