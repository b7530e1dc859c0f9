from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.decoding.fused_norm import FusedNorm, fuse_norms


class WrittenOut(nn.Module):
    """As most models write it; ``shift`` and ``centred`` make another function of it."""

    def __init__(self, eps: float, width: int = 8, shift: float = 0.0, centred: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.5 + torch.rand(width, generator=generator))
        self.eps, self.shift, self.centred = eps, shift, centred

    def forward(self, states: Tensor, gate: Tensor | None = None) -> Tensor:
        centred = states - states.mean(-1, keepdim=True) if self.centred else states
        normed = centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + self.eps)
        normed = (self.weight + self.shift) * normed
        return normed if gate is None else normed * gate


class Doubled(WrittenOut):
    """Of the same parts, but twice as much."""

    def forward(self, states: Tensor, gate: Tensor | None = None) -> Tensor:
        return 2 * super().forward(states, gate)


def hooked(eps: float) -> nn.Module:
    module = WrittenOut(eps)
    module.register_forward_hook(lambda _module, _given, output: output + 1)
    return module


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 1e-8, 5e-3])
def test_the_constant_is_found(eps: float) -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Sequential(WrittenOut(eps)))
    states = torch.randn(3, 8) * torch.tensor([[1e-4], [1.0], [1e4]])
    expected = network[1](states)
    assert fuse_norms(network) == 1
    fused = network[1][0]
    assert isinstance(fused, FusedNorm)
    assert math.isclose(fused.eps, eps)
    torch.testing.assert_close(network[1](states), expected, rtol=1e-5, atol=0)
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias", "1.0.norm.weight"]


@pytest.mark.parametrize(
    "other",
    [
        WrittenOut(1e-6, shift=1.0),
        WrittenOut(1e-6, centred=True),
        WrittenOut(1e-6).double(),
        Doubled(1e-6),
        hooked(1e-6),
        nn.LayerNorm(8),
        nn.PReLU(8),
        nn.Linear(8, 1),
        nn.Embedding(8, 8),
        nn.Identity(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_modules_stay(other: nn.Module) -> None:
    network = nn.Sequential(other)
    assert fuse_norms(network) == 0
    assert network[0] is other


def test_what_the_kernel_does_not_compute_is_left_to_the_module() -> None:
    norm = WrittenOut(1e-5)
    fused, states, gate = FusedNorm(norm, 1e-5), torch.randn(2, 8), torch.randn(2, 8)
    assert torch.equal(fused(states, gate), norm(states, gate))
    assert torch.equal(fused(states, gate=gate), norm(states, gate))
    assert torch.equal(fused(states.bfloat16()), norm(states.bfloat16()))
    assert torch.equal(fused.weight, norm.weight)


@pytest.mark.parametrize(("kind", "norms"), [("llama", 5), ("qwen3", 9), ("gpt2", 0)])
def test_models_decode_the_same(kind: str, norms: int, make_network: Any, recorded: None) -> None:
    model = CausalLM(make_network(kind, torch.float32), precision="bf16")
    copied = DecodingCopy(model).refresh()
    assert sum(isinstance(module, FusedNorm) for module in copied.modules()) == norms
    assert not any(isinstance(module, FusedNorm) for module in model.modules())
    texts = TextBatch.of_ids(torch.arange(12).reshape(2, 6), torch.tensor([6, 5]))
    with torch.no_grad():
        plain, fused = (each.new_cache(2, 16).prefill(torch.arange(2), texts) for each in (model, copied))
    torch.testing.assert_close(fused, plain, rtol=0.05, atol=0.05)
