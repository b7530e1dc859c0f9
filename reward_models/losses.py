"""Likelihoods of answers given scores, as pure functions: choices, rankings, grades."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_IMPOSSIBLE = -1e30  # stands for log 0: infinities have no gradient
_BEYOND = 1e6  # stands for an infinite threshold


def bradley_terry_loss(scores_a: Tensor, scores_b: Tensor, labels: Tensor) -> Tensor:
    r"""Mean negative log-likelihood of choices under the Bradley-Terry model, with ties.

    With d = score_a - score_b and y the share of the preference that a got (1, 0, or 0.5 for a tie):
    :math:`-y \log \sigma(d) - (1 - y) \log \sigma(-d)`. A tie is smallest, log 2, at d = 0.

    Args:
        scores_a: (B,) scores of the responses a, any float type; the loss is computed in fp32 or better.
        scores_b: (B,) scores of the responses b.
        labels: (B,) preferences for a, in [0, 1].

    Returns:
        The mean loss, a scalar.

    Raises:
        ValueError: If the shapes differ.

    References:
        Ouyang et al. (2022), arXiv:2203.02155, equation 1; a tie as half a choice each way.
    """
    if not scores_a.shape == scores_b.shape == labels.shape:
        raise ValueError(
            f"expected three tensors of one shape, got {tuple(scores_a.shape)}, {tuple(scores_b.shape)} and "
            f"{tuple(labels.shape)}; give two scores and a label per comparison"
        )
    precise = torch.promote_types(scores_a.dtype, torch.float32)
    differences = scores_a.to(precise) - scores_b.to(precise)  # (B,)
    return F.binary_cross_entropy_with_logits(differences, labels.to(precise))


def choice_losses(
    scores_a: Tensor, scores_b: Tensor, choices: Tensor, log_tie: Tensor | None = None, neither: Tensor | None = None
) -> Tensor:
    r"""Negative log-likelihoods of choices between two responses, a tie, and "both bad".

    Every answer has a strength, and is given in proportion to it: a response :math:`e^{s}`, a tie
    :math:`\delta e^{(s_a + s_b) / 2}` (Davidson), "both bad" a constant :math:`e^{c}`, the strength of going without.
    So a tie says that two scores are close, "both bad" that both are low, and any other answer that what was chosen is
    not.

    Args:
        scores_a: (B,) scores of the responses a.
        scores_b: (B,) scores of the responses b.
        choices: (B,) integers: 0 is a, 1 is b, 2 a tie, 3 both bad.
        log_tie: Scalar, log of delta; ``None`` where nobody could answer "tie": Bradley-Terry.
        neither: Scalar c; ``None`` where nobody could answer "both bad".

    Returns:
        (B,) losses.

    References:
        Davidson, "On extending the Bradley-Terry model to accommodate ties in paired comparison experiments", JASA 65
        (1970), equation 2.3; Haaijer, Kamakura and Wedel, "The 'no-choice' alternative in conjoint choice experiments",
        International Journal of Market Research 43 (2001).
    """
    precise = torch.promote_types(scores_a.dtype, torch.float32)
    scores_a, scores_b = scores_a.to(precise), scores_b.to(precise)
    if log_tie is None and neither is None:
        return F.binary_cross_entropy_with_logits(scores_a - scores_b, 1.0 - choices.to(precise), reduction="none")
    impossible = torch.full_like(scores_a, _IMPOSSIBLE)
    tie = impossible if log_tie is None else log_tie + (scores_a + scores_b) / 2
    outside = impossible if neither is None else neither.expand_as(scores_a)
    return F.cross_entropy(torch.stack([scores_a, scores_b, tie, outside.to(precise)], 1), choices, reduction="none")


def plackett_luce_losses(scores: Tensor, ranks: Tensor, log_ties: Tensor) -> Tensor:
    r"""Negative log-likelihoods of rankings, best first, with ties.

    A ranking is a sequence of choices from what is left. Of the pool P, the set C of t responses comes next with a
    probability proportional to :math:`\delta_t \exp(\operatorname{mean}_{i \in C} s_i)`. The sum of these over all sets
    of one size is the elementary symmetric polynomial :math:`e_t` of the numbers :math:`e^{s_i / t}`. Without ties this
    is Plackett-Luce; with two responses it is Davidson's model of :func:`choice_losses`.

    Args:
        scores: (B, K).
        ranks: (B, K) integers, 1 the best, equal numbers for ties, 0 for padding.
        log_ties: (D - 1,) logs of delta for ties of 2, 3, ..., D responses; delta of one response is 1. Larger ties
            must not occur in ``ranks``.

    Returns:
        (B,) losses.

    References:
        Turner, van Etten, Firth and Kosmidis, "Modelling rankings in R: the PlackettLuce package" (2020),
        arXiv:1810.12068, section 2.
    """
    levels = torch.arange(1, int(ranks.max()) + 1, device=ranks.device)[None, :, None]  # (1, L, 1)
    chosen, pool = ranks[:, None] == levels, ranks[:, None] >= levels  # (B, L, K)
    counts = chosen.sum(-1)  # (B, L)
    strengths = torch.cat([log_ties.new_zeros(1), log_ties])  # (D,)
    means = (chosen * scores[:, None]).sum(-1) / counts.clamp(min=1)
    numerators = strengths[(counts - 1).clamp(min=0)] + means  # (B, L)
    expanded = scores[:, None].expand(pool.shape)  # (B, L, K)
    sizes = range(1, len(strengths) + 1)
    terms = [strengths[size - 1] + _log_elementary(expanded / size, pool, size) for size in sizes]
    denominators = torch.logsumexp(torch.stack(terms), 0)  # (B, L)
    return ((denominators - numerators) * (counts > 0)).sum(-1)


def _log_elementary(logs: Tensor, members: Tensor, degree: int) -> Tensor:
    """Log of the elementary symmetric polynomial of ``exp(logs)`` over the members, (B, L) from (B, L, K)."""
    values = logs.masked_fill(~members, _IMPOSSIBLE)
    sums = [torch.zeros_like(values[..., 0])] + [torch.full_like(values[..., 0], _IMPOSSIBLE)] * degree
    for item in values.unbind(-1):
        sums = [sums[0], *(torch.logaddexp(sums[t], sums[t - 1] + item) for t in range(1, degree + 1))]
    return sums[degree]


def cumulative_logit_losses(scores: Tensor, grades: Tensor, thresholds: Tensor) -> Tensor:
    r"""Negative log-likelihoods of grades under the proportional-odds model.

    :math:`P(\text{grade} \le g) = \sigma(\theta_g - s)`. With b and a the arguments at g and g - 1, the probability of
    g is computed as :math:`\sigma(b) \sigma(-a) (1 - e^{a - b})`, which loses no digits far out.

    Args:
        scores: (B,).
        grades: (B,) integers from 1 to G.
        thresholds: (G - 1,), rising.

    Returns:
        (B,) losses.

    References:
        McCullagh, "Regression models for ordinal data", JRSS B 42 (1980).
    """
    end = thresholds.new_full((1,), _BEYOND)
    borders = torch.cat([-end, thresholds, end])  # (G + 1,)
    above, below = borders[grades] - scores, borders[grades - 1] - scores  # (B,)
    return -(F.logsigmoid(above) + F.logsigmoid(-below) + torch.log1p(-torch.exp(below - above)))


def learning_rate_share(step: int, total: int, warmup: float = 0.1) -> float:
    """Share of the full learning rate at a step: linear warm-up, then linear decay that would reach 0 after the last.

    Args:
        step: 0-based step.
        total: Number of steps.
        warmup: Share of the steps spent warming up.

    Returns:
        A factor in (0, 1].
    """
    rising = max(1, round(warmup * total))
    return min((step + 1) / rising, (total - step) / max(1, total - rising + 1), 1.0)
