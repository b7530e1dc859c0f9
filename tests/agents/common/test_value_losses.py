"""The arithmetic of learning values, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from textgym.agents.common.value_losses import (
    advantage_weights,
    conservative_loss,
    effective_share,
    expectile_loss,
    guided_logits,
    lambda_returns,
    next_values,
    taken,
    td_targets,
    weighted_regression_loss,
)

REWARDS, VALUES = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.2, 0.4, 0.6])
ENDED = torch.tensor([False, True, True])  # two texts: of two tokens, and of one


def test_targets_have_no_value_behind_the_end() -> None:
    following = next_values(VALUES, ENDED)
    assert following.tolist() == pytest.approx([0.4, 0.0, 0.0])
    assert td_targets(REWARDS, following, 0.9).tolist() == pytest.approx([0.36, 1.0, 0.5])


def test_targets_carry_no_gradient() -> None:
    values = VALUES.clone().requires_grad_()
    assert not td_targets(REWARDS, next_values(values, ENDED), 0.9).requires_grad
    assert not lambda_returns(REWARDS, values, ENDED, 0.9, 0.5).requires_grad


def test_lambda_returns() -> None:
    # lambda 1: 0 + 0.9 * 1; lambda 0: 0 + 0.9 * 0.4; lambda 0.5: 0 + 0.9 * (0.5 * 0.4 + 0.5 * 1)
    for gae_lambda, first in ((1.0, 0.9), (0.0, 0.36), (0.5, 0.63)):
        assert lambda_returns(REWARDS, VALUES, ENDED, 0.9, gae_lambda).tolist() == pytest.approx([first, 1.0, 0.5])


def test_the_expectile_loss_by_hand() -> None:
    assert expectile_loss(torch.tensor([1.0, -1.0, 2.0]), 0.7).tolist() == pytest.approx([0.7, 0.3, 2.8])
    for expectile in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match=r"expected expectile in \(0, 1\)"):
            expectile_loss(VALUES, expectile)


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.25), (0.7, 0.4375), (0.9, 0.75)])
def test_its_minimizer_is_the_expectile(expectile: float, expected: float) -> None:
    """Of 0, 0, 0 and 1: the root of expectile (1 - v) = 3 (1 - expectile) v."""
    samples = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    value = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        expectile_loss(samples - value, expectile).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_weights_of_advantages() -> None:
    weights = advantage_weights(torch.tensor([-1.0, 0.0, 0.5, 3.0], dtype=torch.float64), 0.5, 20.0)
    assert weights.tolist() == pytest.approx([0.1353352832366127, 1.0, 2.718281828459045, 20.0], abs=1e-9)
    assert bool(advantage_weights(torch.tensor([1e6]), 1e-3, 20.0).isfinite().all())
    for beta, largest in ((0.0, 20.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="above 0, got 0"):
            advantage_weights(VALUES, beta, largest)


def test_weighted_regression() -> None:
    log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    weights = advantage_weights(torch.tensor([0.0, math.log(2.0)], requires_grad=True), 1.0, 20.0)
    losses = weighted_regression_loss(log_probs, weights)
    assert losses.tolist() == pytest.approx([1.0, 4.0])
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-1.0, -2.0])


def test_the_conservative_term_is_the_cross_entropy_of_the_values() -> None:
    q_values = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]])
    actions = torch.tensor([1, 0])
    assert conservative_loss(q_values, actions).tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
    assert taken(q_values, actions).tolist() == pytest.approx([math.log(3.0), 1.0])


def test_guided_logits() -> None:
    logits, q_values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    found = guided_logits(logits, q_values, torch.tensor([0.5]), 4.0)
    assert found.tolist() == [[0.0, 0.0]]
    assert guided_logits(logits, q_values, torch.tensor([0.5]), 0.0).tolist() == logits.tolist()


def test_the_effective_share_of_weights() -> None:
    assert float(effective_share(torch.full((5,), 3.0))) == pytest.approx(1.0)
    assert float(effective_share(torch.tensor([0.0, 0.0, 2.0, 0.0]))) == pytest.approx(0.25)


COLUMN, ROW, TABLE = torch.zeros(3, 1), torch.zeros(3), torch.zeros(3, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: td_targets(COLUMN, ROW, 0.9),
        lambda: next_values(ROW, torch.zeros(3, 1, dtype=torch.bool)),
        lambda: lambda_returns(ROW, COLUMN, torch.zeros(3, dtype=torch.bool), 0.9, 1.0),
        lambda: expectile_loss(COLUMN, 0.5),
        lambda: advantage_weights(COLUMN, 0.5, 20.0),
        lambda: weighted_regression_loss(ROW, COLUMN),
        lambda: conservative_loss(TABLE, torch.zeros(2, dtype=torch.int64)),
        lambda: taken(ROW, torch.zeros(3, dtype=torch.int64)),
        lambda: guided_logits(TABLE, TABLE, COLUMN, 1.0),
        lambda: effective_share(COLUMN),
    ],
)
def test_shapes_that_would_be_broadcast_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()  # type: ignore[operator]


def test_gradients_of_the_q_loss_reach_the_values_that_were_taken() -> None:
    q_values: Tensor = torch.zeros(2, 3, requires_grad=True)
    ((torch.tensor([1.0, 2.0]) - taken(q_values, torch.tensor([2, 0]))) ** 2).sum().backward()  # type: ignore[no-untyped-call]
    assert q_values.grad is not None
    assert q_values.grad.tolist() == [[0, 0, -2], [-4, 0, 0]]
