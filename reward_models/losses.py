"""The preference loss, as a pure function."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
