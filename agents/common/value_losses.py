"""The arithmetic of agents that learn values of texts, as pure functions. Agents and lessons import the same ones.

Shapes: ``N`` is a number of tokens, ``V`` that of the vocabulary; padding never reaches these functions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from textgym.naming import argument


def td_targets(rewards: Tensor, next_values: Tensor, gamma: float) -> Tensor:
    """Targets of temporal-difference learning, ``r_t + gamma V(s_{t+1})``, without a gradient.

    Args:
        rewards: (N,) of the tokens.
        next_values: (N,) of the texts with the token; 0 where the text ended with it.
        gamma: Discount.

    Returns:
        (N,).
    """
    _require_same(rewards=rewards, next_values=next_values)
    return (rewards + gamma * next_values).detach()


def next_values(values: Tensor, ended: Tensor) -> Tensor:
    """Values (N,) of the texts that follow on those of consecutive tokens; 0 after the last token of an episode.

    Args:
        values: (N,) of the texts before each token, those of an episode in order.
        ended: (N,) whether an episode ended with the token; it did with the last one.
    """
    _require_same(values=values, ended=ended)
    following = torch.cat([values[1:], values.new_zeros(1)])
    return following.masked_fill(ended, 0.0)


def lambda_returns(rewards: Tensor, values: Tensor, ended: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """TD(lambda) returns of the tokens of whole episodes, without a gradient (Sutton and Barto 2018, eq. 12.2).

    ``G_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda G_{t+1})``: with lambda 1 the discounted sum of the rewards
    that follow.

    Args:
        rewards: (N,) of the tokens, those of an episode in order.
        values: (N,) of the texts before each token.
        ended: (N,) whether an episode ended with the token; it did with the last one.
        gamma: Discount.
        gae_lambda: Lambda: trades bias for variance.

    Returns:
        (N,).
    """
    _require_same(rewards=rewards, values=values, ended=ended)
    steps = (rewards + gamma * (1 - gae_lambda) * next_values(values.detach(), ended)).double().tolist()
    following, returns = 0.0, list[float]()
    for step, is_last in zip(reversed(steps), reversed(ended.tolist()), strict=True):
        following = step + (0.0 if is_last else gamma * gae_lambda * following)
        returns.append(following)
    return torch.tensor(returns[::-1], dtype=values.dtype, device=values.device)


def expectile_loss(errors: Tensor, expectile: float) -> Tensor:
    """Asymmetric squared error, ``|expectile - 1(u < 0)| u^2`` (Kostrikov et al. 2021, arXiv:2110.06169, eq. 4).

    Its minimizer over v, with ``u = x - v``, is the expectile of x: the mean for 0.5, towards the maximum for 1.

    Args:
        errors: (N,) ``u``, what is seen minus what is predicted.
        expectile: In (0, 1).

    Returns:
        (N,).

    Raises:
        ValueError: The expectile is out of range.
    """
    if not 0 < expectile < 1:
        raise ValueError(f"expected {argument('expectile')} in (0, 1), got {expectile}; 0.5 is the mean")
    _require_same(errors=errors)
    return torch.where(errors < 0, 1 - expectile, expectile) * errors**2


def conservative_loss(q_values: Tensor, actions: Tensor) -> Tensor:
    """Conservative term, ``log sum_b exp Q(s, b) - Q(s, a)`` (Kumar et al. 2020, arXiv:2006.04779; Snell et al. 2022).

    It keeps values of tokens that were never tried below those of the tokens in the data.

    Args:
        q_values: (N, V).
        actions: (N,) tokens of the data.

    Returns:
        (N,), at least 0.
    """
    _require_rows(q_values, actions)
    return functional.cross_entropy(q_values, actions, reduction="none")


def taken(q_values: Tensor, actions: Tensor) -> Tensor:
    """Values (N,) of the tokens (N,) that were written, out of those (N, V) of all."""
    _require_rows(q_values, actions)
    return q_values.gather(1, actions[:, None])[:, 0]


def guided_logits(logits: Tensor, q_values: Tensor, values: Tensor, beta: float) -> Tensor:
    """Logits of the policy ``pi(a|s) ~ pi_0(a|s) exp(beta (Q(s, a) - V(s)))`` (Snell et al. 2022, arXiv:2206.11871).

    Args:
        logits: (N, V) of the language model pi_0.
        q_values: (N, V).
        values: (N,).
        beta: Weight of the advantage; 0 is the language model.

    Returns:
        (N, V).
    """
    if logits.ndim != 2 or logits.shape != q_values.shape or values.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits and values of actions (N, V) and values (N,), got {tuple(logits.shape)}, "
            f"{tuple(q_values.shape)} and {tuple(values.shape)}"
        )
    return logits + beta * (q_values - values[:, None])


def advantage_weights(advantages: Tensor, beta: float, largest: float) -> Tensor:
    """Weights of advantage-weighted regression, ``min(exp(A / beta), largest)`` (Peng et al. 2019, arXiv:1910.00177).

    Args:
        advantages: (N,).
        beta: Temperature, above 0: small ones imitate the best tokens alone, large ones all alike.
        largest: Largest weight, which keeps single tokens from filling a batch.

    Returns:
        (N,), without a gradient.

    Raises:
        ValueError: ``beta`` or ``largest`` is not above 0.
    """
    _require_same(advantages=advantages)
    for name, value in (("beta", beta), ("largest", largest)):
        if not value > 0:
            raise ValueError(f"expected {name} above 0, got {value}; choose another")
    # What would overflow is cut before, not after.
    exponents = (advantages.detach() / beta).clamp(max=torch.tensor(largest, dtype=torch.float64).log().item())
    return exponents.exp()


def weighted_regression_loss(log_probs: Tensor, weights: Tensor) -> Tensor:
    """Loss of advantage-weighted regression per token, ``-w log pi(a|s)``, (N,)."""
    _require_same(log_probs=log_probs, weights=weights)
    return -(weights * log_probs)


def effective_share(weights: Tensor) -> Tensor:
    """Effective sample size of weights (N,) as a share of their number: 1 if all are equal, 1/N if one is not 0."""
    _require_same(weights=weights)
    return weights.sum() ** 2 / (len(weights) * (weights**2).sum()).clamp(min=torch.finfo(weights.dtype).tiny)


def _require_same(**tensors: Tensor) -> None:
    """Refuse tensors that are not all (N,): a (N, 1) beside a (N,) would become (N, N)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len({*shapes.values()}) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"expected shape (N,) of {', '.join(shapes)}, got {', '.join(map(str, shapes.values()))}")


def _require_rows(q_values: Tensor, actions: Tensor) -> None:
    if q_values.ndim != 2 or actions.shape != q_values.shape[:1]:
        raise ValueError(
            f"expected values of actions (N, V) and actions (N,), got {tuple(q_values.shape)} and "
            f"{tuple(actions.shape)}"
        )
