"""Exploration around action values: epsilon-greedy and softmax, as distributions over the legal actions."""

from __future__ import annotations

import numpy as np

from textgym.types import FloatArray, IntArray


def epsilon_greedy(values: FloatArray, epsilon: float) -> FloatArray:
    """Probabilities of the epsilon-greedy policy: a random legal action with probability epsilon, else a best one.

    ``pi(a|s) = epsilon / legal actions + (1 - epsilon) / best actions if a is one of them`` (Sutton and Barto 2018,
    section 2.2), so that best actions that are equally good share their part.

    Args:
        values: (n, A) action values; minus infinity where an action is illegal, in no row for all.
        epsilon: Share of random actions, in [0, 1].

    Returns:
        (n, A); rows sum to 1.
    """
    _require_rows(values)
    legal = np.isfinite(values)
    best = values == values.max(axis=1, keepdims=True)
    uniform, greedy = (mask / mask.sum(axis=1, keepdims=True) for mask in (legal, best))
    probabilities: FloatArray = epsilon * uniform + (1.0 - epsilon) * greedy
    return probabilities


def softmax(values: FloatArray, temperature: float) -> FloatArray:
    """Probabilities of the softmax (Boltzmann) policy: ``pi(a|s)`` is proportional to ``exp(Q(s, a) / temperature)``.

    Args:
        values: (n, A) action values; minus infinity where an action is illegal, in no row for all.
        temperature: In the unit of the values; 0 is the greedy policy.

    Returns:
        (n, A); rows sum to 1.
    """
    _require_rows(values)
    if temperature <= 0:
        return epsilon_greedy(values, 0.0)
    weights = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
    probabilities: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def expected_values(values: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Mean of action values under a policy, ``sum_a pi(a|s) Q(s, a)``, shape (n,).

    Args:
        values: (n, A) action values; minus infinity where an action is illegal.
        probabilities: (n, A) of the policy, 0 where an action is illegal.
    """
    weighted: FloatArray = np.where(probabilities > 0, values, 0.0) * probabilities
    return weighted.sum(axis=1)


def draw(probabilities: FloatArray, uniform: FloatArray) -> IntArray:
    """Draw an action for every row by inverting the cumulative distribution; none of probability 0 is drawn.

    Args:
        probabilities: (n, A); rows sum to 1, up to rounding.
        uniform: (n,) random numbers in [0, 1).

    Returns:
        (n,) actions.
    """
    cumulative = probabilities.cumsum(axis=1)
    actions: IntArray = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)
    return actions


def _require_rows(values: FloatArray) -> None:
    if values.ndim != 2 or not np.isfinite(values).any(axis=1).all():
        raise ValueError(f"expected (n, A) action values with a legal action in every row, got shape {values.shape}")
