"""Every function against numbers whose arithmetic stands in the test."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from textgym.agents.common.losses import (
    adapt_kl_coef,
    clipped_policy_loss,
    clipped_value_loss,
    generalized_advantages,
    kl_estimates,
    kl_loss,
    mean_of_texts,
    normalize_advantages,
    scale_rewards,
    sums_of_texts,
    token_numbers,
)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)[:, None]


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_gae_by_hand() -> None:
    advantages = generalized_advantages(
        column(1.0, 2.0, 3.0), column(0.5, 1.0, 1.5), column(0, 0, 0), np.array([2.0]), gamma=0.5, gae_lambda=0.5
    )
    # delta_2 = 3 + 0.5*2.0 - 1.5 = 2.5;  delta_1 = 2 + 0.5*1.5 - 1.0 = 1.75;  delta_0 = 1 + 0.5*1.0 - 0.5 = 1.0
    # A_2 = 2.5;  A_1 = 1.75 + 0.25*2.5 = 2.375;  A_0 = 1.0 + 0.25*2.375 = 1.59375
    assert advantages[:, 0].tolist() == [1.59375, 2.375, 2.5]


def test_gae_of_a_text_with_its_score_at_the_end() -> None:
    # gamma = lambda = 1: the advantage is the score minus the value, at every token.
    advantages = generalized_advantages(
        column(0, 0, 5), column(1, 2, 3), column(0, 0, 1), np.array([100.0]), gamma=1.0, gae_lambda=1.0
    )
    assert advantages[:, 0].tolist() == [4.0, 3.0, 2.0]
    # lambda = 0: one-step differences 2-1, 3-2, 5-3
    advantages = generalized_advantages(
        column(0, 0, 5), column(1, 2, 3), column(0, 0, 1), np.array([100.0]), gamma=1.0, gae_lambda=0.0
    )
    assert advantages[:, 0].tolist() == [1.0, 1.0, 2.0]


def test_gae_does_not_cross_the_end_of_a_text() -> None:
    arguments = column(1, 1, 1, 1), column(0, 0, 0, 0), column(0, 1, 0, 0)
    advantages = generalized_advantages(*arguments, np.array([10.0]), gamma=1.0, gae_lambda=1.0)
    # the first text ends at step 1: 1+1, 1; the second goes on: 1+1+10, 1+10
    assert advantages[:, 0].tolist() == [2.0, 1.0, 12.0, 11.0]


@pytest.mark.parametrize(
    ("gamma", "gae_lambda", "expected"),
    [
        (1.0, 0.95, [0.790875, 0.6325, 0.75, 0.4]),
        (0.9, 0.8, [0.3980032, 0.33056, 0.598, 0.4]),
        (1.0, 1.0, [0.88, 0.69, 0.77, 0.4]),
    ],
)
def test_gae_of_a_text_with_penalties(gamma: float, gae_lambda: float, expected: list[float]) -> None:
    # lambda 0.95: delta_3 = 1 - 0.6; delta_2 = -0.03 + 0.6 - 0.2 = 0.37; A_2 = 0.37 + 0.95*0.4 = 0.75; ...
    rewards, values = column(-0.01, 0.02, -0.03, 1.0), column(0.1, 0.3, 0.2, 0.6)
    advantages = generalized_advantages(rewards, values, column(0, 0, 0, 1), np.array([9.0]), gamma, gae_lambda)
    np.testing.assert_allclose(advantages[:, 0], expected, atol=1e-9)


def test_gae_columns_are_independent() -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    dones, last = (rng.random((6, 3)) < 0.3).astype(float), rng.normal(size=3)
    together = generalized_advantages(rewards, values, dones, last, 0.9, 0.8)
    for i in range(3):
        part = slice(i, i + 1)
        alone = generalized_advantages(rewards[:, part], values[:, part], dones[:, part], last[part], 0.9, 0.8)
        np.testing.assert_allclose(together[:, part], alone, atol=1e-12)


def test_normalized_advantages() -> None:
    # mean 20, sample standard deviation sqrt(((-10)^2 + 0 + 10^2) / 2) = 10, plus 0.001
    expected = [-10 / 10.001, 0.0, 10 / 10.001]
    assert normalize_advantages(tensor(10.0, 20.0, 30.0)).tolist() == pytest.approx(expected, abs=1e-12)
    assert normalize_advantages(tensor(4.0, 4.0)).tolist() == [0.0, 0.0]
    assert normalize_advantages(tensor(7.0)).tolist() == [7.0]


def test_rounding_errors_are_not_normalized_into_a_signal() -> None:
    noise = 1e-7 * torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert float(normalize_advantages(0.5 + noise).abs().max()) < 1e-3


def test_policy_loss_by_hand() -> None:
    old = tensor(*[math.log(0.5)] * 4)
    new = tensor(math.log(0.75), math.log(0.75), math.log(0.25), math.log(0.55))
    # ratios 1.5, 1.5, 0.5, 1.1; clipped at 0.2: 1.2, 1.2, 0.8, 1.1
    # -min(1.5*2, 1.2*2) = -2.4;  -min(-1.5, -1.2) = 1.5;  -min(0.5*2, 0.8*2) = -1;  -min(1.1, 1.1) = -1.1
    loss = clipped_policy_loss(new, old, tensor(2.0, -1.0, 2.0, 1.0), clip_range=0.2)
    assert loss.tolist() == pytest.approx([-2.4, 1.5, -1.0, -1.1], abs=1e-12)
    # and a negative advantage whose ratio has fallen far: -min(0.5*-2, 0.8*-2) = 1.6
    assert clipped_policy_loss(new[2:3], old[2:3], tensor(-2.0), 0.2).item() == pytest.approx(1.6, abs=1e-12)


def test_policy_gradient_is_zero_where_clipping_pays_nothing() -> None:
    old = tensor(0.0, 0.0, 0.0, 0.0, 0.0)
    new = tensor(0.5, -0.5, 0.5, -0.5, 0.0).requires_grad_()
    clipped_policy_loss(new, old, tensor(1.0, -1.0, -1.0, 1.0, 3.0), 0.2).sum().backward()
    assert new.grad is not None
    # e^0.5 up with a gain: clipped; e^-0.5 down with a loss: clipped; the others move: -A * ratio
    expected = [0.0, 0.0, math.exp(0.5), -math.exp(-0.5), -3.0]
    assert new.grad.tolist() == pytest.approx(expected, abs=1e-12)


def test_policy_loss_clipped_higher_above_than_below() -> None:
    old = tensor(*[math.log(0.5)] * 3)
    new = tensor(math.log(0.75), math.log(0.62), math.log(0.25))
    # ratios 1.5, 1.24, 0.5; clipped to 0.8 .. 1.28: 1.28, 1.24, 0.8
    # -min(1.5*2, 1.28*2) = -2.56;  -min(1.24, 1.24) = -1.24;  -min(0.5*-1, 0.8*-1) = 0.8
    loss = clipped_policy_loss(new, old, tensor(2.0, 1.0, -1.0), 0.2, 0.28)
    assert loss.tolist() == pytest.approx([-2.56, -1.24, 0.8], abs=1e-12)


def test_means_over_texts_by_hand() -> None:
    # Two texts, of tokens 1, 3 and 8: of the texts (2 + 8) / 2, of the tokens 12 / 3, constant 12 / (2 * 4)
    losses, texts = tensor(1.0, 8.0, 3.0), torch.tensor([0, 1, 0])
    assert sums_of_texts(losses, texts, 2).tolist() == [4.0, 8.0]
    assert float(mean_of_texts(losses, texts, 2, "grpo", 4)) == 5.0
    assert float(mean_of_texts(losses, texts, 2, "dapo", 4)) == 4.0
    assert float(mean_of_texts(losses, texts, 2, "dr_grpo", 4)) == 1.5
    with pytest.raises(ValueError, match="expected loss type grpo, dapo, dr_grpo, got 'bnpo'; choose one of these"):
        mean_of_texts(losses, texts, 2, "bnpo", 4)  # type: ignore[arg-type]


def test_kl_loss_by_hand() -> None:
    log_probs = tensor(math.log(0.5), math.log(0.2)).requires_grad_()
    estimates = kl_loss(log_probs, tensor(math.log(0.25), math.log(0.4)))
    # ref / pi - 1 - ln(ref / pi): 0.5 - 1 + ln 2;  2 - 1 - ln 2; slopes 1 - ref / pi: 0.5, -1
    assert estimates.tolist() == pytest.approx([math.log(2) - 0.5, 1 - math.log(2)], abs=1e-12)
    estimates.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([0.5, -1.0], abs=1e-12)


def test_an_unbiased_kl_loss_has_the_gradient_of_the_divergence() -> None:
    """Summed over all tokens with the probabilities of the policy that drew them, which by now is another one."""
    logits = tensor(0.3, -1.0, 2.0, -6.0).requires_grad_()
    old, reference = (
        torch.log_softmax(tensor(0.5, 0.1, -0.3, 1.0), 0),
        torch.log_softmax(tensor(-0.2, 0.4, 0.0, 0.9), 0),
    )
    log_probs = torch.log_softmax(logits, 0)
    exact = (log_probs.exp() * (log_probs - reference)).sum()
    estimate = (old.exp() * kl_loss(log_probs, reference, old)).sum()
    assert float(estimate) == pytest.approx(float(exact), abs=1e-12)
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (found,) = torch.autograd.grad(estimate, logits, retain_graph=True)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    (biased,) = torch.autograd.grad((old.exp() * kl_loss(log_probs, reference)).sum(), logits)
    assert (biased - wanted).abs().max() > 10 * wanted.abs().max()  # the last token was likely, and is not any more


def test_shapes_that_would_be_broadcast_are_refused() -> None:
    row, column_of_4 = torch.zeros(4), torch.zeros(4, 1)
    for call in (
        lambda: clipped_policy_loss(row, column_of_4, row, 0.2),
        lambda: clipped_policy_loss(column_of_4, column_of_4, column_of_4, 0.2),
        lambda: clipped_value_loss(column_of_4, row, row, None),
        lambda: kl_loss(row, column_of_4),
        lambda: sums_of_texts(row, torch.zeros(4, 1, dtype=torch.long), 1),
        lambda: mean_of_texts(torch.zeros(3), torch.zeros(4, dtype=torch.long), 1, "dapo", 4),
    ):
        with pytest.raises(ValueError, match=r"expected tensors of one shape \(N,\), got .*; flatten them"):
            call()


def test_value_loss_by_hand() -> None:
    values, old, returns = tensor(3.0, 3.0, 1.1), tensor(1.0, 1.0, 1.0), tensor(2.0, 4.0, 2.0)
    assert clipped_value_loss(values, old, returns, None).tolist() == pytest.approx([1.0, 1.0, 0.81])
    # values clipped to 1 +- 0.5: 1.5, 1.5, 1.1; clipped errors 0.25, 6.25, 0.81; the larger: 1, 6.25, 0.81
    assert clipped_value_loss(values, old, returns, 0.5).tolist() == pytest.approx([1.0, 6.25, 0.81])


def test_value_loss_keeps_the_gradient_back_towards_the_return() -> None:
    """The value has overshot beyond the clip range: the clipped branch alone would be flat there."""
    values = tensor(3.0).requires_grad_()
    clipped_value_loss(values, tensor(1.0), tensor(2.0), 0.5).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [2.0]  # 2 * (3 - 2)


def test_kl_estimates_by_hand() -> None:
    log_p, log_q = np.log([[0.5, 0.2]]), np.log([[0.25, 0.4]])
    k1, k3 = kl_estimates(log_p, log_q)
    # k1 = ln 2, -ln 2;  k3 = q/p - 1 - ln(q/p) = 0.5 - 1 + ln 2,  2 - 1 - ln 2
    np.testing.assert_allclose(k1, [[math.log(2), -math.log(2)]], atol=1e-12)
    np.testing.assert_allclose(k3, [[math.log(2) - 0.5, 1 - math.log(2)]], atol=1e-12)


def test_kl_estimates_agree_with_the_divergence() -> None:
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    exact = float((p * np.log(p / q)).sum())
    k1, k3 = kl_estimates(np.log(p), np.log(q))
    assert (p * k1).sum() == pytest.approx(exact, abs=1e-12)
    assert (p * k3).sum() == pytest.approx(exact, abs=1e-12)
    assert (k3 >= 0).all()
    assert kl_estimates(np.log(p), np.log(p)).k1.tolist() == [0.0, 0.0, 0.0]


def test_kl_estimates_have_the_exact_mean_and_k3_the_smaller_variance() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.4, 0.4, 0.2])
    k1, k3 = kl_estimates(np.log(p), np.log(q))
    assert (p * k1).sum() == pytest.approx(0.04985675617422343, abs=1e-12)
    assert (p * k3).sum() == pytest.approx(0.04985675617422343, abs=1e-12)
    variances = [float((p * (k - (p * k).sum()) ** 2).sum()) for k in (k1, k3)]
    assert variances == pytest.approx([0.09008494010966278, 0.002140785941679175], abs=1e-12)


def test_adaptive_coefficient_by_hand() -> None:
    # error 6.6/6 - 1 = 0.1; factor 1 + 0.1 * 100/10000
    assert adapt_kl_coef(0.2, 6.6, 6.0, 100, 10_000) == pytest.approx(0.2 * 1.001, abs=1e-12)
    # errors beyond 20 % count as 20 %
    assert adapt_kl_coef(0.2, 600.0, 6.0, 100, 10_000) == pytest.approx(0.2 * 1.002, abs=1e-12)
    assert adapt_kl_coef(0.2, 0.0, 6.0, 100, 10_000) == pytest.approx(0.2 * 0.998, abs=1e-12)
    assert adapt_kl_coef(0.2, 6.0, 6.0, 100, 10_000) == 0.2


def test_kl_coefficient_of_batches_longer_than_the_horizon_by_hand() -> None:
    assert adapt_kl_coef(0.2, 0.0, 6.0, 100, 100) == pytest.approx(0.2 * 0.8)
    assert adapt_kl_coef(0.2, 0.0, 6.0, 300, 100) == pytest.approx(0.2 * 0.8**3)  # and not 0.2 * (1 - 3 * 0.2)
    assert adapt_kl_coef(0.2, 60.0, 6.0, 300, 100) == pytest.approx(0.2 * 1.2**3)


@pytest.mark.parametrize("kl", [-1e9, 0.0, 1e-3, 1e9, math.inf])
@pytest.mark.parametrize("horizon", [1e-300, 1e-3, 1.0, 10.0, 1e4])
def test_the_kl_coefficient_stays_positive_and_finite(kl: float, horizon: float) -> None:
    coefficient = 0.2
    for _ in range(1000):
        coefficient = adapt_kl_coef(coefficient, kl, 6.0, 64, horizon)
        assert 0.0 < coefficient < math.inf
    assert adapt_kl_coef(coefficient, 12.0, 6.0, 64, 64) > coefficient or coefficient == 1e12  # it comes back


def test_token_numbers_by_hand() -> None:
    starts = np.array([[1, 0], [0, 0], [1, 1]], dtype=bool)
    assert token_numbers(starts, np.array([100, 10])).tolist() == [[1, 11], [2, 12], [1, 1]]


def test_scaled_rewards_by_hand() -> None:
    rewards = np.array([0.0, 1.0, -3.0])
    assert scale_rewards(rewards).tolist() == [0.0, 1.0, -3.0]
    np.testing.assert_allclose(scale_rewards(rewards, spread=2.0), [0.0, 0.5, -1.5], atol=1e-7)
    assert scale_rewards(rewards, clip=2.0).tolist() == [0.0, 1.0, -2.0]
    np.testing.assert_allclose(scale_rewards(rewards, spread=2.0, clip=1.0), [0.0, 0.5, -1.0], atol=1e-7)
