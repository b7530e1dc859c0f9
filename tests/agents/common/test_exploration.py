"""Exploration: distributions by hand, and draws from them."""

from __future__ import annotations

import numpy as np
import pytest

from textgym.agents.common.exploration import draw, epsilon_greedy, expected_values, softmax

NO = -np.inf


def test_epsilon_greedy_by_hand() -> None:
    values = np.array([[0.0, 1.0, NO], [1.0, 1.0, 0.0], [2.0, NO, NO]])
    # 0.1 over the legal actions, 0.9 over the best
    expected = [[0.05, 0.95, 0.0], [0.1 / 3 + 0.45, 0.1 / 3 + 0.45, 0.1 / 3], [1.0, 0.0, 0.0]]
    np.testing.assert_allclose(epsilon_greedy(values, 0.1), expected, atol=1e-12)
    np.testing.assert_allclose(epsilon_greedy(values, 0.0)[0], [0, 1, 0])
    np.testing.assert_allclose(epsilon_greedy(values, 1.0)[0], [0.5, 0.5, 0])


def test_softmax_by_hand() -> None:
    values = np.array([[0.0, 1.0, NO]])
    np.testing.assert_allclose(softmax(values, 1.0), [[0.2689414213699951, 0.7310585786300049, 0.0]], atol=1e-12)
    np.testing.assert_allclose(softmax(values, 0.5), [[1 / (1 + np.e**2), np.e**2 / (1 + np.e**2), 0.0]], atol=1e-12)
    np.testing.assert_allclose(softmax(values, 0.0), [[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(softmax(values * 1e6, 1.0), [[0.0, 1.0, 0.0]])  # no overflow


def test_expected_values_leave_illegal_actions_out() -> None:
    values = np.array([[0.0, 1.0, NO]])
    np.testing.assert_allclose(expected_values(values, epsilon_greedy(values, 0.1)), [0.95])


def test_draws_follow_the_distribution_and_never_its_zeros() -> None:
    probabilities = np.tile([0.0, 0.25, 0.0, 0.75, 0.0], (5, 1))
    assert draw(probabilities, np.array([0.0, 0.249, 0.25, 0.5, 1 - 2**-53])).tolist() == [1, 1, 3, 3, 3]
    uniform = np.random.default_rng(0).random(4000)
    counts = np.bincount(draw(np.tile(probabilities[0], (4000, 1)), uniform), minlength=5)
    assert counts.tolist() == pytest.approx([0, 1000, 0, 3000, 0], abs=120)


def test_a_state_without_a_legal_action_is_refused() -> None:
    for values in (np.array([[NO, NO]]), np.zeros(3)):
        with pytest.raises(ValueError, match=r"expected \(n, A\) action values with a legal action in every row"):
            epsilon_greedy(values, 0.1)
        with pytest.raises(ValueError, match="legal action in every row"):
            softmax(values, 1.0)
