"""One kernel for a root mean square normalization that a model writes out as six."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_TINY = 1e-3  # a state beside whose square the constant below the root shows


class FusedNorm(nn.Module):
    """Root mean square normalization of fp32 states (Zhang and Sennrich 2019, arXiv:1910.07467) by torch's one kernel.

    Other states, and calls with further arguments, are left to ``norm``.

    Args:
        norm: Module that computes the same; its weight is shared.
        eps: The constant that it adds to the mean square.
    """

    def __init__(self, norm: nn.Module, eps: float) -> None:
        super().__init__()
        self.norm, self.eps = norm, eps

    @property
    def weight(self) -> Tensor:
        """The factors (H,) that normalized states are multiplied by."""
        return cast(Tensor, self.norm.weight)

    def forward(self, states: Tensor, *others: object, **named: object) -> Tensor:
        """Normalize states (..., H)."""
        if others or named or states.dtype != torch.float32:
            return cast(Tensor, self.norm(states, *others, **named))
        return functional.rms_norm(states, self.weight.shape, self.weight, self.eps)


@torch.no_grad()
def fuse_norms(network: nn.Module) -> int:
    """Replace, in place, the modules of a network that turn out to compute this normalization.

    That is found by computing a few states in both ways. They differ by rounding.

    Returns:
        How many were replaced.
    """
    found = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if (eps := _epsilon(child)) is not None:
                setattr(module, name, FusedNorm(child, eps))
                found += 1
    return found


def _epsilon(module: nn.Module) -> float | None:
    """Return the constant of a module that normalizes by the root mean square; ``None`` for any other module."""
    parameters = dict(module.named_parameters())
    weight = parameters.get("weight")
    parts = [module._forward_hooks, module._forward_pre_hooks, list(module.children()), list(module.buffers())]
    if len(parameters) != 1 or weight is None or weight.ndim != 1 or weight.dtype != torch.float32 or any(parts):
        return None
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-3, 3, 7)[:, None]
    states = torch.cat([torch.full((1, len(weight)), _TINY), torch.randn(7, len(weight), generator=generator) * scales])
    states = states.to(weight.device)
    try:
        normed = module(states)
    except (RuntimeError, TypeError, ValueError):  # it takes something else
        return None
    if not isinstance(normed, Tensor) or normed.shape != states.shape or normed.dtype != states.dtype:
        return None
    place = int(weight.abs().argmax())
    shrunk = float(normed[0, place].double() / weight[place].double())  # tiny / sqrt(tiny^2 + eps)
    if not 0 < shrunk < 1:
        return None
    eps = float(f"{_TINY**2 * (shrunk**-2 - 1):.2g}")
    fused = functional.rms_norm(states, weight.shape, weight, eps)
    return eps if torch.allclose(fused, normed, rtol=1e-5, atol=1e-6) else None
