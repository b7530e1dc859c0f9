"""One fused kernel for an activation that older models write out as eight."""

from __future__ import annotations

from torch import nn

# 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), operation by operation (Hendrycks and Gimpel 2016, arXiv:1606.08415).
_WRITTEN_OUT = ("NewGELUActivation", "FastGELUActivation")


def fuse_activations(network: nn.Module) -> None:
    """Replace, in place, GELUs that transformers computes operation by operation with torch's one kernel.

    The function is the same up to rounding. GPT-2 spends a seventh of an update in it, and keeps seven tensors of the
    feed-forward width for the backward pass where one will do. The configuration stays as it is.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in _WRITTEN_OUT:
                setattr(module, name, nn.GELU(approximate="tanh"))
