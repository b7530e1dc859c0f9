"""Advantages against numbers whose arithmetic stands in the test, and against those of TRL 1.16."""

from __future__ import annotations

import numpy as np
import pytest

from textgym.agents.common.group_advantages import (
    group_relative_advantages,
    leave_one_out_advantages,
    normalized_returns,
    scores_of_texts,
)

# Two groups of four, as TRL's trainers were given them.
REWARDS = np.array([[1.0, 0.0, 0.0, 1.0], [0.2, 0.9, 0.5, 0.4]])
# KL of the texts to the reference, summed over their tokens: log pi - log ref.
KL = np.array([[-0.2, 0.2, -0.2, 0.3], [0.0, 0.0, 0.0, -0.2]])
TRL = {
    "group": [
        [0.8658754297607016, -0.8658754297607016, -0.8658754297607016, 0.8658754297607016],
        [-1.01870329442667, 1.3582710592355602, 0.0, -0.33956776480888995],
    ],
    "batch": [
        [1.1782335896572231, -1.1782335896572231, -1.1782335896572231, 1.1782335896572231],
        [-0.7069401537943338, 0.9425868717257786, 0.0, -0.23564671793144457],
    ],
    "none": [[0.5, -0.5, -0.5, 0.5], [-0.3, 0.4, 0.0, -0.09999999999999998]],
}


@pytest.mark.parametrize("scale", TRL)
def test_group_relative_advantages_are_those_of_trl(scale: str) -> None:
    np.testing.assert_allclose(group_relative_advantages(REWARDS, scale), TRL[scale], atol=1e-6)  # type: ignore[arg-type]


def test_a_group_without_spread_has_no_advantages() -> None:
    scores = np.array([[1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    found = group_relative_advantages(scores)
    np.testing.assert_allclose(found[0], TRL["group"][0], atol=1e-6)
    np.testing.assert_allclose(found[1], 0.0, atol=1e-9)
    np.testing.assert_allclose(leave_one_out_advantages(scores)[1], 0.0, atol=1e-9)


def test_leave_one_out_by_hand() -> None:
    # 1 - (0 + 0 + 1) / 3 = 2/3;  0 - (1 + 0 + 1) / 3 = -2/3;  0.2 - (0.9 + 0.5 + 0.4) / 3 = -0.4
    expected = [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [-0.4, 0.7 / 1.5 + 0.2 / 3, 0.0, -0.4 / 3]]
    np.testing.assert_allclose(leave_one_out_advantages(REWARDS), expected, atol=1e-12)


def test_leave_one_out_with_a_penalty_is_that_of_trl() -> None:
    expected = [
        [0.6816666666666666, -0.6783333333333333, -0.6516666666666667, 0.6483333333333332],
        [-0.4033333333333334, 0.5299999999999999, -0.0033333333333334103, -0.1233333333333333],
    ]
    np.testing.assert_allclose(leave_one_out_advantages(REWARDS - 0.05 * KL), expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_leave_one_out_is_a_multiple_of_the_difference_to_the_mean(size: int) -> None:
    scores = np.random.default_rng(0).normal(size=(5, size))
    of_dr_grpo = group_relative_advantages(scores, "none")
    np.testing.assert_allclose(leave_one_out_advantages(scores), size / (size - 1) * of_dr_grpo, atol=1e-12)


def test_normalized_returns_by_hand() -> None:
    # Rewards -0.01 0.02 1.0 | 0.03 0.0 | -0.02 -0.01 -0.02 0.5: mean 4.96 / 9, variance of all 0.13685432098765432
    returns = np.array([1.01, 1.02, 1.0, 0.03, 0.0, 0.45, 0.47, 0.48, 0.5])
    expected = [
        *(1.2404472056551543, 1.267478742824395, 1.2134156684859136, -1.40864343693043, -1.489738048438152),
        *(-0.27331887582232245, -0.21925580148384125, -0.19222426431460057, -0.1381611899761192),
    ]
    np.testing.assert_allclose(normalized_returns(returns), expected, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_equal_returns_are_not_normalized_into_a_signal(value: float) -> None:
    noise = 1e-8 * value * np.random.default_rng(0).normal(size=50)
    assert normalized_returns(value + noise).tolist() == [0.0] * 50


def test_scores_of_texts_by_hand() -> None:
    # Environment 0: texts 0 (two tokens), 2 (one); environment 1: text 1 (three tokens); the last token counts not.
    ids = np.array([[0, 1], [0, 1], [2, 1], [4, 3]])
    counted = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=bool)
    rewards = np.array([[0.5, 1.0], [1.0, 2.0], [-1.0, 0.25], [9.0, 9.0]])
    assert scores_of_texts(rewards, ids, counted).tolist() == [1.5, 3.25, -1.0]


def test_what_is_no_group_is_refused() -> None:
    for scores in (np.zeros(4), np.zeros((4, 1))):
        for advantages in (leave_one_out_advantages, group_relative_advantages):
            with pytest.raises(ValueError, match=r"expected scores \(G, k\) of groups of 2 texts or more, got shape"):
                advantages(scores)
    with pytest.raises(ValueError, match="expected a scale of group, batch, none, got 'std'"):
        group_relative_advantages(REWARDS, "std")  # type: ignore[arg-type]
