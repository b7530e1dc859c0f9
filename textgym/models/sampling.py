"""Drawing tokens, and the log-probabilities and entropies of drawn tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sample_tokens(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one id per row from softmax(logits), by inverting the cumulative distribution.

    One uniform number per row is enough, and an id of probability zero is never drawn.

    Args:
        logits: (B, V).
        generator: Source of randomness; the global torch generator if ``None`` (as Stable-Baselines3 seeds it).

    Returns:
        (B,) ids.

    Raises:
        FloatingPointError: If a row has a logit that is not a number.
    """
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    cumulative = weights.cumsum(-1, dtype=torch.float64)  # (B, V)
    if not bool(cumulative[:, -1].isfinite().all()):
        raise FloatingPointError("expected finite logits, got nan; lower the learning rate, or use fp32")
    uniform = torch.rand(len(logits), 1, dtype=torch.float64, device=logits.device, generator=generator)
    threshold = uniform * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)[:, 0]


class _LogProbEntropy(torch.autograd.Function):
    """log p(action) and entropy of softmax(logits) with one exponential in each direction.

    With p = softmax(x), l = log p(a), H = -sum p log p:  dl/dx = onehot(a) - p,  dH/dx = -p (log p + H).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        log_normalizer = logits.logsumexp(-1)  # (N,)
        log_probs = logits.gather(-1, actions[:, None])[:, 0] - log_normalizer
        probs = (logits - log_normalizer[:, None]).exp_()  # (N, V)
        entropy = log_normalizer - (probs * logits).sum(-1)
        ctx.save_for_backward(logits, log_normalizer, entropy, actions, probs)
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        grad_log_probs, grad_entropy = gradients
        logits, log_normalizer, entropy, actions, probs = ctx.saved_tensors
        slope = -grad_log_probs[:, None]
        if bool(grad_entropy.any()):  # an entropy coefficient of 0 costs nothing
            log_probs = logits - log_normalizer[:, None]
            slope = slope - grad_entropy[:, None] * (log_probs + entropy[:, None])
        grad = probs * slope
        grad.scatter_add_(-1, actions[:, None], grad_log_probs[:, None])
        return grad, None


def log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of the drawn ids and entropy of the distributions, differentiable once.

    Args:
        logits: (N, V), fp32 or better, all finite (a forbidden action has a large negative one).
        actions: (N,) ids.

    Returns:
        Two tensors of shape (N,), in nats.
    """
    log_probs, entropy = _LogProbEntropy.apply(logits, actions)  # type: ignore[no-untyped-call]
    return log_probs, entropy
