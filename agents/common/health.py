"""Signs that training goes wrong: gradients that are no numbers, a policy that drifted off or froze."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

HUGE_REWARD = 1e4
"""Rewards beyond this are taken for a mistake of scale: values and losses follow them, and little else is learnt."""
_FAR_PER_TEXT, _FAR_PER_TOKEN, _SOMEWHAT_PER_TEXT = 100.0, 1.0, 20.0  # nats
_FROZEN = 1e-3  # nats per token
_DRIFTED = (
    "the policy is {:.0f} nats per text away from its reference: it most likely writes what no reader would take for "
    "text, to please the reward; raise kl_coef (--kl-coef), set kl_target (--kl-target), or lower the learning rate"
)
_FROZE = (
    "the policy's entropy is 0: it always writes the same, and learns no more; lower the learning rate, raise kl_coef "
    "(--kl-coef) or ent_coef, and start again"
)


def clip_gradients(parameters: Iterable[Tensor], max_norm: float, largest_reward: float = 0.0) -> float:
    """Scale gradients down to a norm of at most ``max_norm``; call it before the optimizer's step.

    Args:
        parameters: Parameters whose gradients are clipped.
        max_norm: The largest norm.
        largest_reward: Largest absolute reward they come from, for the error.

    Returns:
        The norm before.

    Raises:
        FloatingPointError: It is no finite number. The weights are those of the step before.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    require_finite("gradient", norm, largest_reward)
    return norm


def require_finite(what: str, value: float, largest_reward: float = 0.0) -> None:
    """Check a loss or a gradient norm before it reaches the weights.

    Raises:
        FloatingPointError: It is no finite number; the message says what to change.
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"expected a finite {what}, got {value}; {_remedy(largest_reward)}")


def _remedy(largest_reward: float) -> str:
    if largest_reward <= HUGE_REWARD:
        return "lower the learning rate, or use precision='fp32' if it is bf16"
    return (
        f"the rewards are huge (up to {largest_reward:.3g}): divide them, or use scale_rewards (--scale-rewards) or "
        "clip_reward"
    )


def refuse_bad_steps(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer, whoever calls it, raise ``FloatingPointError`` instead of stepping along a bad gradient."""
    optimizer.register_step_pre_hook(_check_step)


def _check_step(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    require_finite("gradient", float(torch.nn.utils.get_total_norm(gradients)))


class Concerns:
    """Warns of each sign once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def check(self, metrics: Mapping[str, float]) -> None:
        """Check the record of an iteration."""
        for sign, text in concerns(metrics):
            if sign not in self._seen:
                self._seen.add(sign)
                warnings.warn(text, stacklevel=3)


def concerns(metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an iteration, as a name and a sentence that says what to do.

    Args:
        metrics: A record of ``PPO.history``; ``kl`` in nats per text, ``entropy`` in nats per token.
    """
    kl, length = metrics.get("kl", 0.0), max(1.0, metrics.get("length", 1.0))
    if kl > _FAR_PER_TEXT or (kl > _SOMEWHAT_PER_TEXT and kl / length > _FAR_PER_TOKEN):
        yield "kl", _DRIFTED.format(kl)
    if metrics.get("entropy", 1.0) < _FROZEN:
        yield "entropy", _FROZE
