"""Training mode computes what evaluation mode computes, whatever makes noise, and still recomputes activations."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from textgym.models.causal_lm import CausalLM
from textgym.models.probing.findings import narrow_probe
from textgym.models.probing.trunk import Trunk

IDS = torch.randint(4, 64, (4, 30), generator=torch.Generator().manual_seed(0))
_SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_SIZES |= {"intermediate_size": 64, "num_key_value_heads": 2, "pad_token_id": 0, "num_local_experts": 2}
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {**_SIZES, "router_jitter_noise": 0.3, "sliding_window": None}),
    "phimoe": ("PhimoeConfig", _SIZES),  # jitter of 0.01 by default
    "gpt2": (
        "GPT2Config",
        {"vocab_size": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "resid_pdrop": 0.5, "attn_pdrop": 0.5},
    ),
}


def noisy_network(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    name, settings = _KINDS[kind]
    network = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**{**settings, **changes}))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return network


def gradients(model: CausalLM) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    states = model.token_states(IDS)
    states.square().sum().backward()
    return states.detach(), [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("kind", list(_KINDS))
def test_two_passes_of_an_update_are_equal_to_the_last_bit(kind: str) -> None:
    network = noisy_network(kind)
    expected = copy.deepcopy(network).eval()
    model = CausalLM(network)
    found = {}
    for recomputes in (False, True):
        if recomputes:
            model.recompute_activations()
        model.train()
        assert model.trunk.training
        states, first = gradients(model)
        again, second = gradients(model)
        assert torch.equal(states, again)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))
        model.eval()
        assert torch.equal(model.token_states(IDS), states)
        found[recomputes] = first
    with torch.no_grad():
        ours, theirs = model.logits(states), expected(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    for ours, theirs in zip(found[False], found[True], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that a forward pass keeps for its backward pass."""

    def __init__(self) -> None:
        self.bytes = 0
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor


@pytest.mark.parametrize("kind", ["mixtral", "gpt2"])
def test_recomputing_activations_keeps_less_and_gives_equal_gradients(kind: str) -> None:
    """Whatever stays in evaluation mode, layers are in training mode, where transformers recomputes."""
    model = CausalLM(noisy_network(kind, num_hidden_layers=6) if kind == "mixtral" else noisy_network(kind, n_layer=6))
    model.train()
    sizes = []
    for recomputes in (False, True):
        if recomputes:
            model.recompute_activations()
            model.train()
        kept = Kept()
        with kept:
            model.token_states(IDS)
        sizes.append(kept.bytes)
    assert sizes[1] < 0.3 * sizes[0]


class Shaken(nn.Module):
    """Noise that no configuration names, in training mode."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *given: Any) -> Any:
        output = self.inner(*given)
        return output + 0.1 * torch.rand_like(output) if self.training else output


def test_a_module_of_ones_own_is_silenced() -> None:
    network = noisy_network("gpt2")
    network.transformer.h[1].mlp = Shaken(network.transformer.h[1].mlp)
    model = CausalLM(network)
    model.train()
    assert model.trunk.training
    assert torch.equal(model.token_states(IDS), model.token_states(IDS))
    assert not network.transformer.h[1].mlp.training
    assert network.transformer.h[1].training


class Restless(transformers.GPT2Model):
    """A trunk that makes noise while most of its parts are in training mode."""

    def forward(self, *given: Any, **named: Any) -> Any:
        output = super().forward(*given, **named)
        if sum(part.training for part in self.modules()) > 20:
            output[0].add_(torch.rand_like(output[0]))
        return output


def restless_network() -> Any:
    network = noisy_network("gpt2")
    restless = Restless(network.config)
    restless.load_state_dict(network.transformer.state_dict())
    network.transformer = restless
    return network


def test_what_cannot_be_trained_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = CausalLM(restless_network())
        monkeypatch.setattr("textgym.models.probing.findings._reason_at", lambda *_: "it was made to end here")
        model.prepare(model.findings.reach + 1)
    texts = [str(each.message) for each in said]
    assert sum("stays in evaluation mode" in text for text in texts) == 1
    assert sum("it was made to end here" in text for text in texts) == 1


def test_noise_that_cannot_be_traced_keeps_the_trunk_in_evaluation_mode() -> None:
    network = restless_network()
    with pytest.warns(UserWarning, match="stays in evaluation mode, where gradient checkpointing has no effect"):
        model = CausalLM(network)
    model.train()
    assert not model.trunk.training
    assert torch.equal(model.token_states(IDS), model.token_states(IDS))


def test_quiet_models_are_left_in_training_mode() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = CausalLM(noisy_network("gpt2"))
    model.train()
    assert all(part.training for part in model.trunk.modules())
    probe = narrow_probe(Trunk(model.trunk, model.config))
    assert not isinstance(probe, str)
    assert probe.noisy == ()
