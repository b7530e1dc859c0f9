"""Losses of learning from preferences as pure functions: of the summed or mean log-probabilities of whole responses.

Shapes: ``B`` is a number of pairs, or of labelled texts. Every loss is (B,), for the caller to average. A *log-ratio*
is log pi(y|x) - log ref(y|x), of a response y to a prompt x; *chosen* is the preferred response of a pair, *rejected*
the other one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_BELOW_0 = -1e-7  # the largest mean log-probability whose odds are finite in fp32


def dpo_loss(chosen: Tensor, rejected: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    r"""Negative log-likelihood of preferences under the rewards that a policy implies: Direct Preference Optimization.

    With d = beta (chosen - rejected) and smoothing e: :math:`-(1 - e) \log \sigma(d) - e \log \sigma(-d)`.

    Args:
        chosen, rejected: (B,) log-ratios; without a reference, log-probabilities.
        beta: Strength of the KL constraint.
        label_smoothing: Probability that a preference is the wrong way round ("conservative"), below 0.5.

    References:
        Rafailov et al. (2023), arXiv:2305.18290, equation 7; Mitchell (2023), https://ericmitchell.ai/cdpo.pdf; without
        a reference, the preference term of CPO: Xu et al. (2024), arXiv:2401.08417.
    """
    difference = beta * _difference(chosen, rejected)
    return -(1 - label_smoothing) * F.logsigmoid(difference) - label_smoothing * F.logsigmoid(-difference)


def robust_dpo_loss(chosen: Tensor, rejected: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Unbiased estimate of :func:`dpo_loss` on clean preferences, from some of which are the wrong way round.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.
        label_smoothing: Probability that a preference is the wrong way round, below 0.5.

    References:
        Chowdhury et al. (2024), arXiv:2403.00409.
    """
    right, wrong = dpo_loss(chosen, rejected, beta), dpo_loss(rejected, chosen, beta)
    return ((1 - label_smoothing) * right - label_smoothing * wrong) / (1 - 2 * label_smoothing)


def hinge_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Hinge loss of the implied rewards: no gradient once they differ by 1.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Scale of the rewards.

    References:
        Zhao et al. (2023), arXiv:2305.10425 (SLiC-HF); with a reference, Liu et al. (2023), arXiv:2309.06657.
    """
    return F.relu(1 - beta * _difference(chosen, rejected))


def exo_loss(chosen: Tensor, rejected: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """KL of the policy's preference to the annotator's, the reverse of what :func:`dpo_loss` minimizes: EXO of pairs.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.
        label_smoothing: Probability that the annotator prefers the other one, above 0 and below 0.5.

    References:
        Ji et al. (2024), arXiv:2402.00856.
    """
    difference = beta * _difference(chosen, rejected)
    smoothing = torch.as_tensor(label_smoothing, dtype=difference.dtype)
    right = difference.sigmoid() * (F.logsigmoid(difference) - (1 - smoothing).log())
    return right + (-difference).sigmoid() * (F.logsigmoid(-difference) - smoothing.log())


def nca_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Noise-contrastive alignment of pairs: raises the likelihood of the chosen text itself, not only the difference.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.

    References:
        Chen et al. (2024), arXiv:2402.05369.
    """
    _difference(chosen, rejected)
    both = F.logsigmoid(-beta * chosen) + F.logsigmoid(-beta * rejected)
    return -F.logsigmoid(beta * chosen) - 0.5 * both


def sppo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Squared distance of the log-ratios to what a preference that is certain asks for: 1 / (2 beta) and minus that.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.

    References:
        Wu et al. (2024), arXiv:2405.00675, with probabilities 1 and 0 of winning.
    """
    _difference(chosen, rejected)
    return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2


def apo_zero_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Raise chosen texts and lower rejected ones, each by itself: for chosen texts better than what the model writes.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.

    References:
        D'Oosterlinck et al. (2024), arXiv:2408.06266.
    """
    _difference(chosen, rejected)
    return 1 - (beta * chosen).sigmoid() + (beta * rejected).sigmoid()


def apo_down_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Lower both texts, the rejected one more: for a model that writes better than even the chosen texts.

    Args:
        chosen, rejected: (B,) log-ratios.
        beta: Strength of the KL constraint.

    References:
        D'Oosterlinck et al. (2024), arXiv:2408.06266.
    """
    return (beta * chosen).sigmoid() + 1 - (beta * _difference(chosen, rejected)).sigmoid()


def ipo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Squared distance of the difference of log-ratios to 1 / (2 beta): identity preference optimization.

    The difference has a target, and does not grow without bound where a preference is certain.

    Args:
        chosen, rejected: (B,) log-ratios, summed or per token.
        beta: Strength of the KL constraint (tau in the paper), above 0.

    References:
        Azar et al. (2023), arXiv:2310.12036, equation 17.
    """
    return (_difference(chosen, rejected) - 0.5 / beta) ** 2


def kto_baseline(log_ratios: Tensor) -> Tensor:
    """Estimate of KL(pi || ref) that Kahneman-Tversky optimization compares rewards with: a scalar, never negative.

    Args:
        log_ratios: (M,) of responses with the prompts of others; no gradient flows through the estimate.

    References:
        Ethayarajh et al. (2024), arXiv:2402.01306.
    """
    _require_vectors(log_ratios)
    return log_ratios.detach().mean().clamp(min=0)


def kto_loss(
    log_ratios: Tensor,
    desirable: Tensor,
    baseline: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    r"""Loss of Kahneman-Tversky optimization: texts are worth more or less than a baseline, with falling gains.

    :math:`\lambda (1 - \sigma(\pm \beta (r - z)))`, plus for a desirable text, minus for another one.

    Args:
        log_ratios: (B,) r.
        desirable: (B,) truth values.
        baseline: Scalar z of :func:`kto_baseline`.
        beta: Strength of the KL constraint.
        desirable_weight, undesirable_weight: The weights lambda.

    References:
        Ethayarajh et al. (2024), arXiv:2402.01306.
    """
    _require_vectors(log_ratios, desirable)
    signs = torch.where(desirable, 1.0, -1.0).to(log_ratios.dtype)
    weights = torch.where(desirable, desirable_weight, undesirable_weight).to(log_ratios.dtype)
    return weights * (1 - (signs * beta * (log_ratios - baseline)).sigmoid())


def log_odds(mean_log_probs: Tensor) -> Tensor:
    """Log-odds log(p / (1 - p)) of the geometric mean p of a response's token probabilities.

    Args:
        mean_log_probs: (B,) log p, at most 0.
    """
    _require_vectors(mean_log_probs)
    kept = mean_log_probs.clamp(max=_BELOW_0)
    return kept - torch.log(-torch.expm1(kept))


def odds_ratio_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Odds-ratio term of ORPO: minus the log-sigmoid of the difference of log-odds.

    Args:
        chosen, rejected: (B,) mean log-probabilities per token.

    References:
        Hong et al. (2024), arXiv:2403.07691, equation 7.
    """
    return -F.logsigmoid(_difference(log_odds(chosen), log_odds(rejected)))


def simpo_loss(chosen: Tensor, rejected: Tensor, beta: float, target_margin: float) -> Tensor:
    """Loss of SimPO: the mean log-probability of the chosen text beats that of the other one by a margin.

    Args:
        chosen, rejected: (B,) mean log-probabilities per token.
        beta: Scale of the rewards.
        target_margin: Difference of the rewards that is aimed at, gamma in the paper.

    References:
        Meng et al. (2024), arXiv:2405.14734, equation 6.
    """
    return -F.logsigmoid(beta * _difference(chosen, rejected) - target_margin)


def _difference(chosen: Tensor, rejected: Tensor) -> Tensor:
    _require_vectors(chosen, rejected)
    return chosen - rejected


def _require_vectors(*tensors: Tensor) -> None:
    """Refuse other shapes than (B,): (B, 1) beside (B,) would broadcast to (B, B)."""
    if any(tensor.ndim != 1 or tensor.shape != tensors[0].shape for tensor in tensors):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"expected one number per response, tensors of one shape (B,), got {shapes}; flatten them")
