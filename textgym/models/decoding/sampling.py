"""Drawing tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 256  # ids that are summed before they are put in order
_BELOW_ONE = 1 - 2**-53  # the largest number below 1


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
    return require_finite(tokens_at(logits, uniform_numbers(len(logits), logits.device, generator)))


def uniform_numbers(rows: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Draw the numbers (B, 1) in [0, 1) that :func:`tokens_at` takes."""
    return torch.rand(rows, 1, dtype=torch.float64, device=device, generator=generator)


def tokens_at(logits: Tensor, uniform: Tensor) -> Sample:
    """Return the ids at which the cumulative distribution of softmax(logits) passes ``uniform``.

    It looks at no value, so that a GPU can run it on its own; :func:`require_finite` comes after it.

    Args:
        logits: (B, V), fp32 or better.
        uniform: (B, 1), float64, in [0, 1).
    """
    largest = logits.amax(-1)
    weights = (logits - largest[:, None]).exp_()  # (B, V)
    sums = _block_sums(weights).to(torch.float64)
    block, within = _invert(sums, uniform)
    ids = block * _BLOCK + torch.arange(_BLOCK, device=logits.device)  # (B, _BLOCK); the last block may be shorter
    last = logits.shape[-1] - 1
    candidates = weights.gather(1, ids.clamp(max=last)).to(torch.float64).masked_fill_(ids > last, 0.0)
    place, _ = _invert(candidates, within)
    tokens = (block * _BLOCK + place).clamp_(max=last)
    log_probs = (logits.gather(1, tokens)[:, 0] - largest) - sums.sum(-1).log().to(logits.dtype)
    return Sample(tokens[:, 0], log_probs)


def require_finite(sample: Sample) -> Sample:
    """Check that no row had a logit that is not a number; on a GPU this waits for it.

    Raises:
        FloatingPointError: If one had.
    """
    if not bool(sample.log_probs.isfinite().all()):
        raise FloatingPointError("expected finite logits, got nan; lower the learning rate, or use fp32")
    return sample


def _block_sums(weights: Tensor) -> Tensor:
    """Sums of every :data:`_BLOCK` ids, (B, V) -> (B, ceil(V / _BLOCK)).

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
