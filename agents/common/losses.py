"""The arithmetic of policy-gradient fine-tuning as pure functions. Agents and lessons import the same ones.

Shapes: ``N`` is a number of tokens; padding never reaches these functions.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.naming import argument
from textgym.types import BoolArray, FloatArray, IntArray

LossType = Literal["grpo", "dapo", "dr_grpo"]
LOSS_TYPES: tuple[LossType, ...] = ("grpo", "dapo", "dr_grpo")
_MOST_CHANGES = 10.0  # of the KL coefficient by one batch
_SMALLEST, _LARGEST = 1e-12, 1e12  # bounds of the KL coefficient: no factor leads back from 0 or infinity


def generalized_advantages(
    rewards: FloatArray, values: FloatArray, dones: FloatArray, last_values: FloatArray, gamma: float, gae_lambda: float
) -> FloatArray:
    """Generalized advantage estimation (Schulman et al. 2015, arXiv:1506.02438).

    delta_t = r_t + gamma V_{t+1} (1 - done_t) - V_t;  A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}

    Args:
        rewards, values, dones: (T, B); ``dones[t]`` is 1 where the text ended with the action of step t.
        last_values: (B,) value of the observation after the last step.
        gamma: Discount.
        gae_lambda: Bias-variance trade-off.

    Returns:
        (T, B) advantages; returns are ``advantages + values``.
    """
    advantages = np.zeros_like(rewards)
    next_advantages, next_values = np.zeros_like(last_values), last_values
    for step in reversed(range(len(rewards))):
        going_on = 1.0 - dones[step]
        delta = rewards[step] + gamma * next_values * going_on - values[step]
        next_advantages = delta + gamma * gae_lambda * going_on * next_advantages
        advantages[step], next_values = next_advantages, values[step]
    return advantages


def normalize_advantages(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the tokens of a minibatch (N,); equal advantages become 0.

    Rewards are of order 1. The constant beside the deviation is large enough that rounding errors, which are all that
    is left when every text gets the same reward, are not blown up into a gradient.
    """
    if len(advantages) < 2:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + 1e-3)


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    clip_range: float,
    clip_range_high: float | None = None,
) -> Tensor:
    """PPO's clipped surrogate per token (Schulman et al. 2017, arXiv:1707.06347, eq. 7), to minimize.

    Args:
        log_probs, old_log_probs, advantages: (N,).
        clip_range: The ratio gains nothing outside 1 +- clip_range.
        clip_range_high: How far above 1 instead: a larger one lets rare tokens become likelier ("clip-higher"; Yu et
            al. 2025, arXiv:2503.14476); ``None``: as far as below.

    Returns:
        (N,).
    """
    _require_equal_shapes(log_probs, old_log_probs, advantages)
    high = clip_range if clip_range_high is None else clip_range_high
    ratio = (log_probs - old_log_probs).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip_range, 1 + high) * advantages)


def kl_loss(log_probs: Tensor, reference_log_probs: Tensor, old_log_probs: Tensor | None = None) -> Tensor:
    """The k3 estimate of KL(pi || ref) per token, with gradients in pi (http://joschu.net/blog/kl-approx.html).

    Without ``old_log_probs`` it is an estimate for tokens of pi itself, and its gradient that of another divergence; a
    token that pi has made unlikely since it was drawn gives it any size. With them the estimate is multiplied by the
    probability ratio pi / old: its mean over tokens of the old policy is the KL divergence, and its gradient the
    gradient of that (DeepSeek-V3.2, arXiv:2512.02556).

    Args:
        log_probs, reference_log_probs: (N,) of tokens drawn from (about) pi.
        old_log_probs: (N,) of the policy that the tokens were drawn from.

    Returns:
        (N,), never negative.
    """
    _require_equal_shapes(log_probs, reference_log_probs)
    log_ratio = reference_log_probs - log_probs
    estimate = log_ratio.expm1() - log_ratio
    if old_log_probs is None:
        return estimate
    _require_equal_shapes(log_probs, old_log_probs)
    return (log_probs - old_log_probs).exp() * estimate


def sums_of_texts(values: Tensor, texts: Tensor, count: int) -> Tensor:
    """Sum numbers of tokens over texts.

    Args:
        values: (N,).
        texts: (N,) the text of each, from 0.
        count: Number of texts, M.

    Returns:
        (M,).
    """
    _require_equal_shapes(values, texts)
    return values.new_zeros(count).index_add(0, texts, values)


def mean_of_texts(losses: Tensor, texts: Tensor, count: int, loss_type: LossType, longest: int) -> Tensor:
    """Mean of the losses of tokens, by one of three ways to weigh long texts against short ones.

    Args:
        losses: (N,).
        texts: (N,) the text of each, from 0.
        count: Number of texts, M.
        loss_type: ``"grpo"``: every text weighs the same, whatever its length (Shao et al. 2024, arXiv:2402.03300);
            ``"dapo"``: every token does (Yu et al. 2025, arXiv:2503.14476); ``"dr_grpo"``: so too, but the sum is
            divided by a constant, M times ``longest`` (Liu et al. 2025, arXiv:2503.20783).
        longest: Most tokens that a text can have.

    Returns:
        A scalar.

    Raises:
        ValueError: For another type.
    """
    _require_equal_shapes(losses, texts)
    match loss_type:
        case "grpo":
            return (sums_of_texts(losses, texts, count) / texts.bincount(minlength=count)).mean()
        case "dapo":
            return losses.mean()
        case "dr_grpo":
            return losses.sum() / (count * longest)
    raise ValueError(f"expected loss type {', '.join(LOSS_TYPES)}, got {loss_type!r}; choose one of these")


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Squared error of the values per token; with clipping, the larger of the clipped and the unclipped one.

    The maximum of both branches (as in OpenAI's baselines) keeps a gradient towards the return where the clipped branch
    alone would have none.

    Args:
        values, old_values, returns: (N,).
        clip_range: Largest change of a value that lowers the loss; ``None``: no clipping.

    Returns:
        (N,).
    """
    _require_equal_shapes(values, old_values, returns)
    error = (values - returns) ** 2
    if clip_range is None:
        return error
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return torch.max(error, (clipped - returns) ** 2)


class KLEstimates(NamedTuple):
    """Per-token estimates of KL(p || q) from tokens drawn from p (http://joschu.net/blog/kl-approx.html)."""

    k1: FloatArray
    k3: FloatArray


def kl_estimates(log_p: FloatArray, log_q: FloatArray) -> KLEstimates:
    """k1 = log p - log q, unbiased; k3 = q/p - 1 - log(q/p), unbiased and never negative. Of all shapes."""
    log_ratio = log_q - log_p
    return KLEstimates(-log_ratio, np.expm1(log_ratio) - log_ratio)


def require_adaptable(kl_coef: float, kl_target: float | None) -> None:
    """Check that :func:`adapt_kl_coef` can reach a target: it multiplies, so that 0 stays 0.

    Raises:
        ValueError: There is a target, and the coefficient is 0.
    """
    if kl_target is not None and kl_coef == 0:
        raise ValueError(
            f"expected {argument('kl_coef')} above 0 with {argument('kl_target', kl_target)}, which multiplies it, "
            f"got 0; choose a small one, such as 0.01, or leave {argument('kl_target')} out"
        )


def adapt_kl_coef(kl_coef: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """Proportional control of the KL coefficient (Ziegler et al. 2019, arXiv:1909.08593, section 2.2).

    Args:
        kl_coef: Coefficient so far.
        kl: KL of the last batch, summed per text, in nats.
        target: KL to hold.
        episodes: Texts in the batch.
        horizon: Texts over which the coefficient may change by a fifth. A batch of more texts counts as several changes
            in a row (ten at most): added up, five of them would make the coefficient zero, and more of them negative.

    Returns:
        The next coefficient; above 0 if ``kl_coef`` is.
    """
    error = float(np.clip(kl / target - 1.0, -0.2, 0.2))
    share = episodes / horizon
    factor = 1.0 + error * share if share <= 1.0 else (1.0 + error) ** min(share, _MOST_CHANGES)
    return min(max(kl_coef * factor, _SMALLEST), _LARGEST) if kl_coef > 0 else kl_coef


def token_numbers(starts: BoolArray, before: IntArray) -> IntArray:
    """Number the tokens of each environment's texts, from 1.

    Args:
        starts: (T, B) whether a text starts with the step.
        before: (B,) tokens, before the first step, of the texts that go on with it.

    Returns:
        (T, B); at a text's last step this is its length.
    """
    numbers = np.zeros(starts.shape, dtype=np.int64)
    for step, begins in enumerate(starts):
        before = np.where(begins, 0, before) + 1
        numbers[step] = before
    return numbers


def scale_rewards(rewards: FloatArray, spread: float | None = None, clip: float | None = None) -> FloatArray:
    """Divide terminal rewards by ``spread`` (the mean is not shifted), then clip them to +-``clip``. Of all shapes."""
    rewards = rewards if spread is None else rewards / spread
    return rewards if clip is None else np.clip(rewards, -clip, clip)


def _require_equal_shapes(*tensors: Tensor) -> None:
    """Refuse tensors that would be broadcast, (N, 1) beside (N,) say: the loss would be one of (N, N) numbers.

    Raises:
        ValueError: Shapes differ, or there are several axes.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len({*shapes}) != 1 or len(shapes[0]) != 1:
        raise ValueError(f"expected tensors of one shape (N,), got {', '.join(map(str, shapes))}; flatten them")
