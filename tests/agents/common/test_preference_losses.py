"""Losses of preferences against values and gradients of TRL 1.16 on fixed log-probabilities, and against arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from textgym.agents.common.preference_losses import (
    apo_down_loss,
    apo_zero_loss,
    dpo_loss,
    exo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    log_odds,
    nca_loss,
    odds_ratio_loss,
    robust_dpo_loss,
    simpo_loss,
    sppo_loss,
)

# Four responses of up to four tokens: the first two were chosen, the others rejected, row i with row i + 2.
POLICY = [[-0.5, -1.0, -0.25, -2.0], [-1.5, -0.3, -0.7, 0.0], [-0.9, -1.1, 0.0, 0.0], [-2.2, -0.4, -1.3, -0.6]]
REFERENCE = [[-0.8, -1.2, -0.5, -1.9], [-1.1, -0.6, -1.0, 0.0], [-0.7, -0.8, 0.0, 0.0], [-2.0, -0.9, -1.0, -0.5]]
MASK = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
# The same with the responses to other prompts.
OTHERS = [[-1.0, -0.9, 0.0, 0.0], [-0.6, -1.4, -0.2, -0.3], [-0.8, -0.7, -1.9, 0.0], [-0.4, -2.1, -0.6, -0.9]]
OTHERS_REFERENCE = [[-1.2, -1.0, 0.0, 0.0], [-0.9, -1.3, -0.4, -0.5], [-0.7, -0.9, -2.0, 0.0], [-0.6, -2.3, -0.5, -1.0]]


def tensor(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def log_ratios(log_probs: Tensor, *, average: bool = False) -> Tensor:
    """Sums over the tokens, or means, (4,)."""
    sums = ((log_probs - tensor(REFERENCE)) * tensor(MASK)).sum(1)
    return sums / tensor(MASK).sum(1) if average else sums


Case = tuple[Callable[[Tensor, Tensor], Tensor], bool, float, list[float]]
# Loss of two log-ratios; whether they are means per token; TRL's mean loss, and its gradient at a token of each row.
CASES: dict[str, Case] = {
    "sigmoid, beta 0.1": (
        partial(dpo_loss, beta=0.1), False, 0.6577795358814897,
        [-0.023564082152428018, -0.02462502812246898, 0.023564082152428018, 0.02462502812246898],
    ),
    "sigmoid, beta 0.5": (
        partial(dpo_loss, beta=0.5), False, 0.5336876289297234,
        [-0.09002097581556645, -0.11564253866406263, 0.09002097581556645, 0.11564253866406263],
    ),
    "sigmoid of means": (
        partial(dpo_loss, beta=0.1), True, 0.6806546057282252,
        [-0.006121112025393752, -0.008295139156336168, 0.012242224050787504, 0.0062213543672521255],
    ),
    "robust": (
        partial(robust_dpo_loss, beta=0.1, label_smoothing=0.1), False, 0.6487170358814897,
        [-0.02981408215242802, -0.030875028122468978, 0.02981408215242802, 0.030875028122468978],
    ),
    "hinge": (partial(hinge_loss, beta=0.1), False, 0.9275, [-0.05, -0.05, 0.05, 0.05]),
    "exo": (
        partial(exo_loss, beta=0.1, label_smoothing=0.1), False, 0.4719177514239938,
        [-0.02594194210265633, -0.027084212811760287, 0.02594194210265633, 0.027084212811760287],
    ),
    "nca": (
        partial(nca_loss, beta=0.1), False, 1.3686841263858518,
        [-0.011281678920344568, -0.012125012499500019, 0.012187565087894743, 0.012437500520828126],
    ),
    "sppo": (partial(sppo_loss, beta=0.1), False, 43.11125, [-4.35, -4.8, 4.5, 4.9]),
    "apo_zero": (
        partial(apo_zero_loss, beta=0.1), False, 0.9818792549734212,
        [-0.01248680616663882, -0.01249875008332861, 0.012492190754055821, 0.01249968750520826],
    ),
    "apo_down": (
        partial(apo_down_loss, beta=0.1), False, 0.9925131599500061,
        [2.804336793833448e-05, 1.5621615073926204e-06, 0.012458762798700486, 0.012497187921821218],
    ),
    "ipo of means, beta 0.1": (
        partial(ipo_loss, beta=0.1), True, 22.568446180555554,
        [-1.146875, -1.636111111111111, 2.29375, 1.2270833333333333],
    ),
    "ipo of means, beta 0.5": (
        partial(ipo_loss, beta=0.5), True, 0.5851128472222221,
        [-0.14687499999999998, -0.30277777777777776, 0.29374999999999996, 0.22708333333333333],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_losses_of_pairs_are_those_of_trl(case: Case) -> None:
    loss, average, value, gradients = case
    policy = tensor(POLICY).requires_grad_()
    ratios = log_ratios(policy, average=average)
    found = loss(ratios[:2], ratios[2:])
    assert found.shape == (2,)
    found.mean().backward()
    assert found.mean().item() == pytest.approx(value, abs=1e-6)
    assert policy.grad is not None
    expected = tensor(gradients)[:, None] * tensor(MASK)  # padding has no part in a text
    assert torch.allclose(policy.grad, expected, rtol=0, atol=1e-6)


def test_ipo_of_sums_is_that_of_the_paper() -> None:
    chosen, rejected = log_ratios(tensor(POLICY)).split(2)
    assert (chosen.tolist(), rejected.tolist()) == (pytest.approx([0.65, 0.2]), pytest.approx([-0.5, -0.1]))
    # ((1.15 - 5)^2 + (0.3 - 5)^2) / 2 and ((1.15 - 1)^2 + (0.3 - 1)^2) / 2
    assert ipo_loss(chosen, rejected, 0.1).mean().item() == pytest.approx(18.45625)
    assert ipo_loss(chosen, rejected, 0.5).mean().item() == pytest.approx(0.25625)


def test_a_share_of_wrong_preferences() -> None:
    chosen, rejected = vector(2.0), vector(1.0)
    right, wrong = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))
    assert dpo_loss(chosen, rejected, 0.5, 0.2).item() == pytest.approx(0.8 * right + 0.2 * wrong)
    assert robust_dpo_loss(chosen, rejected, 0.5, 0.2).item() == pytest.approx((0.8 * right - 0.2 * wrong) / 0.6)
    # of preferences that are wrong in a fifth of cases, the robust loss has the mean of the clean one
    mean = 0.8 * robust_dpo_loss(chosen, rejected, 0.5, 0.2) + 0.2 * robust_dpo_loss(rejected, chosen, 0.5, 0.2)
    assert mean.item() == pytest.approx(right)


def test_without_a_reference_it_is_the_preference_term_of_cpo() -> None:
    found = dpo_loss(vector(-3.75, -2.5), vector(-2.0, -4.5), 0.1)
    assert found.tolist() == pytest.approx([0.7844704306630469, 0.5981388693815918], abs=1e-6)


KTO = {  # beta, weights, sign of the baseline's log-ratios: TRL's loss, baseline, and gradient at a token of each row
    (0.1, 1.0, 1.0, 1): (
        0.49094162496434623, 0.375,
        [-0.006248818508295, -0.0062495215087981755, 0.006238052357981269, 0.0062464759346451525],
    ),
    (0.5, 1.33, 1.0, 1): (
        0.5366669262416925, 0.375,
        [-0.04136666960726405, -0.04148304818057543, 0.029801080232691738, 0.030813436101843235],
    ),
    (0.1, 1.0, 1.0, -1): (
        0.4909396274867106, 0.0,
        [-0.00624340308331941, -0.006249375041664305, 0.006246095377027912, 0.00624984375260413],
    ),
}  # fmt: skip


@pytest.mark.parametrize("settings", KTO)
def test_kto_is_that_of_trl(settings: tuple[float, float, float, int]) -> None:
    beta, desirable_weight, undesirable_weight, sign = settings
    value, baseline, gradients = KTO[settings]
    policy, others = tensor(POLICY).requires_grad_(), tensor(OTHERS).requires_grad_()
    z = kto_baseline(sign * (others - tensor(OTHERS_REFERENCE)).sum(1))
    desirable = torch.tensor([True, True, False, False])
    losses = kto_loss(log_ratios(policy), desirable, z, beta, desirable_weight, undesirable_weight)
    losses.mean().backward()
    assert z.item() == pytest.approx(baseline, abs=1e-6)
    assert losses.mean().item() == pytest.approx(value, abs=1e-6)
    assert policy.grad is not None
    assert torch.allclose(policy.grad, tensor(gradients)[:, None] * tensor(MASK), rtol=0, atol=1e-6)
    assert others.grad is None  # no gradient flows through the baseline


def test_odds_ratios_are_those_of_trl() -> None:
    chosen, rejected = vector(-0.9375, -0.8333333333333334), vector(-1.0, -1.125)
    # TRL's term is beta times the log-sigmoid
    expected = [-0.0644037276506424, -0.04857563599944115]
    assert (-0.1 * odds_ratio_loss(chosen, rejected)).tolist() == pytest.approx(expected, abs=1e-6)
    assert (log_odds(chosen) - log_odds(rejected)).mean().item() == pytest.approx(0.2850571572780609, abs=1e-6)
    assert log_odds(vector(math.log(0.75))).item() == pytest.approx(math.log(3))


def test_odds_of_a_certain_text_are_finite() -> None:
    certain = torch.zeros(1, requires_grad=True)
    odds_ratio_loss(certain, torch.tensor([-1.0])).sum().backward()
    assert certain.grad is not None
    assert math.isfinite(certain.grad.item())


def test_simpo_is_that_of_trl() -> None:
    found = simpo_loss(vector(-0.9375, -0.8333333333333334), vector(-1.0, -1.125), 2.0, 0.5)
    assert found.tolist() == pytest.approx([0.8981232641398401, 0.6523483183915745], abs=1e-6)


def test_shapes_that_would_broadcast_are_errors() -> None:
    for loss in (
        partial(dpo_loss, beta=0.1),
        partial(nca_loss, beta=0.1),
        partial(sppo_loss, beta=0.1),
        partial(apo_zero_loss, beta=0.1),
        partial(ipo_loss, beta=0.1),
        odds_ratio_loss,
        partial(simpo_loss, beta=2.0, target_margin=0.5),
    ):
        with pytest.raises(ValueError, match=r"tensors of one shape \(B,\), got \(4, 1\).*flatten them"):
            loss(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match=r"got \(4,\), \(4, 1\); flatten"):
        kto_loss(torch.zeros(4), torch.ones(4, 1, dtype=torch.bool), torch.tensor(0.0), 0.1)
