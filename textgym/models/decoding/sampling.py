"""Drawing tokens, and the log-probabilities and entropies of drawn tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 256  # ids that are summed before they are put in order
_BELOW_ONE = 1 - 2**-53  # the largest number below 1
_IN_CACHE = 2**18  # numbers that the processor keeps at hand between two operations


class Sample(NamedTuple):
    """Drawn ids (B,) and their log-probabilities (B,)."""

    tokens: Tensor
    log_probs: Tensor


def sample_tokens(logits: Tensor, generator: torch.Generator | None = None) -> Sample:
    """Draw one id per row from softmax(logits), by inverting the cumulative distribution.

    One uniform number per row is enough, and an id of probability zero is never drawn.

    Args:
        logits: (B, V), fp32 or better.
        generator: Source of randomness; the global torch generator if ``None`` (as Stable-Baselines3 seeds it).

    Raises:
        FloatingPointError: If a row has a logit that is not a number.
    """
    largest = logits.amax(-1)
    weights = (logits - largest[:, None]).exp_()  # (B, V)
    sums = _block_sums(weights).to(torch.float64)
    uniform = torch.rand(len(logits), 1, dtype=torch.float64, device=logits.device, generator=generator)
    block, within = _invert(sums, uniform)
    ids = block * _BLOCK + torch.arange(_BLOCK, device=logits.device)  # (B, _BLOCK); the last block may be shorter
    last = logits.shape[-1] - 1
    candidates = weights.gather(1, ids.clamp(max=last)).to(torch.float64).masked_fill_(ids > last, 0.0)
    place, _ = _invert(candidates, within)
    tokens = (block * _BLOCK + place).clamp_(max=last)
    log_probs = (logits.gather(1, tokens)[:, 0] - largest) - sums.sum(-1).log().to(logits.dtype)
    # Last, because to look at a value is to wait for a GPU: it has everything to do by now.
    if not bool(log_probs.isfinite().all()):
        raise FloatingPointError("expected finite logits, got nan; lower the learning rate, or use fp32")
    return Sample(tokens[:, 0], log_probs)


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities (N,) of given ids (N,) under softmax(logits), (N, V)."""
    return -functional.cross_entropy(logits, actions, reduction="none")


def _block_sums(weights: Tensor) -> Tensor:
    """Sums of every `_BLOCK` ids, (B, V) -> (B, ceil(V / _BLOCK)).

    To add up all ids one after the other takes longer than everything else about sampling once there are many; only
    the blocks, and the ids of one of them, have to be in order.
    """
    whole = weights.shape[-1] // _BLOCK
    sums = weights[:, : whole * _BLOCK].unflatten(-1, (whole, _BLOCK)).sum(-1)
    rest = weights[:, whole * _BLOCK :].sum(-1, keepdim=True)
    return torch.cat([sums, rest], dim=-1)


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the cumulative distribution of ``weights`` (B, n) at ``uniform`` (B, 1) in [0, 1).

    Returns:
        The place found, whose weight is not 0, and what is left of ``uniform`` within it, in [0, 1); both (B, 1).
    """
    cumulative = weights.cumsum(-1)
    threshold = uniform * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=weights.shape[-1] - 1)
    weight = weights.gather(1, place)
    left = (threshold - (cumulative.gather(1, place) - weight)) / weight
    return place, left.clamp_(0.0, _BELOW_ONE)


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
