"""Drawing tokens, and the log-probabilities and entropies of drawn tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_IN_CACHE = 2**18  # numbers that the processor keeps at hand between two operations


class Sample(NamedTuple):
    """Drawn ids (B,) and their log-probabilities (B,)."""

    tokens: Tensor
    log_probs: Tensor


def sample_tokens(logits: Tensor, generator: torch.Generator | None = None) -> Sample:
    """Draw one id per row from softmax(logits), by inverting the cumulative distribution.

    One uniform number per row is enough, and an id of probability zero is never drawn.

    Args:
        logits: (B, V).
        generator: Source of randomness; the global torch generator if ``None`` (as Stable-Baselines3 seeds it).

    Raises:
        FloatingPointError: If a row has a logit that is not a number.
    """
    largest = logits.amax(-1)
    weights = (logits - largest[:, None]).exp_()
    cumulative = weights.cumsum(-1, dtype=torch.float64)  # (B, V)
    uniform = torch.rand(len(logits), 1, dtype=torch.float64, device=logits.device, generator=generator)
    threshold = uniform * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    log_probs = (logits.gather(1, tokens)[:, 0] - largest) - cumulative[:, -1].log().to(logits.dtype)
    # Last, because to look at a value is to wait for a GPU: it has everything to do by now.
    if not bool(log_probs.isfinite().all()):
        raise FloatingPointError("expected finite logits, got nan; lower the learning rate, or use fp32")
    return Sample(tokens[:, 0], log_probs)


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities (N,) of given ids (N,) under softmax(logits), (N, V)."""
    return -functional.cross_entropy(logits, actions, reduction="none")


class _LogProbEntropy(torch.autograd.Function):
    """log p(action) and entropy of softmax(logits) with one exponential in each direction.

    With p = softmax(x), l = log p(a), H = -sum p log p:  dl/dx = onehot(a) - p,  dH/dx = -p (log p + H).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        probs = logits.softmax(-1)  # (N, V)
        # The largest logit has probability 1 / sum(exp(x - largest)).
        log_normalizer = logits.amax(-1) - probs.amax(-1).log()  # (N,)
        log_probs = logits.gather(-1, actions[:, None])[:, 0] - log_normalizer
        entropy = log_normalizer - _mean_logits(probs, logits)
        ctx.save_for_backward(logits, log_normalizer, entropy, actions, probs)
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        grad_log_probs, grad_entropy = gradients
        logits, log_normalizer, entropy, actions, probs = ctx.saved_tensors
        slope = -grad_log_probs[:, None]
        # An entropy coefficient of 0 costs nothing, except on a GPU, where looking would cost more than computing.
        if grad_entropy.is_cuda or bool(grad_entropy.any()):
            log_probs = logits - log_normalizer[:, None]
            slope = slope - grad_entropy[:, None] * (log_probs + entropy[:, None])
        grad = probs * slope
        grad.scatter_add_(-1, actions[:, None], grad_log_probs[:, None])
        return grad, None


def _mean_logits(probs: Tensor, logits: Tensor) -> Tensor:
    """Sum of p x over the ids, (N,); on a CPU a few rows at a time, because storing all products takes longest."""
    if logits.is_cuda:
        return (probs * logits).sum(-1)
    rows = max(1, _IN_CACHE // logits.shape[-1])
    pairs = zip(probs.split(rows), logits.split(rows), strict=True)
    return torch.cat([(p * x).sum(-1) for p, x in pairs])


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
