"""Training mode computes what evaluation mode computes, whatever makes noise, and still recomputes activations."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from textgym.errors import ModelError
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


class Particular(nn.Module):
    """Takes texts of a multiple of eight tokens only, when it trains."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        if self.training and states.shape[1] % 8:
            raise ValueError("expected a multiple of 8 tokens")
        output: Tensor = self.inner(states)
        return output


class Reseeding(Particular):
    """Seeds the generator with what no seed of a run repeats, when it trains."""

    def forward(self, states: Tensor) -> Tensor:
        if self.training:
            torch.seed()
        output: Tensor = self.inner(states)
        return output


@pytest.mark.parametrize("kind", [Particular, Reseeding])
def test_modules_that_fail_or_reseed_in_training_mode_are_silenced(kind: type[Particular]) -> None:
    network = noisy_network("gpt2")
    network.transformer.h[1].mlp = kind(network.transformer.h[1].mlp)
    expected = copy.deepcopy(network).eval()
    model = CausalLM(network)
    model.train()
    assert not network.transformer.h[1].mlp.training
    assert network.transformer.h[1].training
    before = torch.get_rng_state()
    states, found = gradients(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(states), expected(input_ids=IDS, use_cache=False).logits)


class _TrainsOnly(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: Tensor, training: bool) -> Tensor:
        context.training = training
        return states.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        if not context.training:
            raise AssertionError("use train()")
        return gradients[0], None


class Stubborn(transformers.GPT2Model):
    """A trunk with gradients in training mode only, in which it takes eight tokens only."""

    def forward(self, *given: Any, **named: Any) -> Any:
        output = super().forward(*given, **named)
        if self.training and named["input_ids"].shape[1] != 8:
            raise ValueError("expected 8 tokens")
        output.last_hidden_state = _TrainsOnly.apply(output.last_hidden_state, self.training)  # type: ignore[no-untyped-call]
        return output


def test_a_model_without_gradients_for_texts_of_any_length_is_refused() -> None:
    network = noisy_network("gpt2")
    network.transformer = with_weights_of(network.transformer, Stubborn)
    with pytest.raises(ModelError, match=r"which cannot \(ValueError: expected 8 tokens\)"):
        CausalLM(network)


class Restless(transformers.GPT2Model):
    """A trunk that makes noise while most of its parts are in training mode."""

    def forward(self, *given: Any, **named: Any) -> Any:
        output = super().forward(*given, **named)
        if sum(part.training for part in self.modules()) > 20:
            output[0].add_(torch.rand_like(output[0]))
        return output


def restless_network() -> Any:
    network = noisy_network("gpt2")
    network.transformer = with_weights_of(network.transformer, Restless)
    return network


def with_weights_of(trunk: Any, kind: type[Any]) -> Any:
    copied = kind(trunk.config)
    copied.load_state_dict(trunk.state_dict())
    return copied


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
    probe = narrow_probe(Trunk(model.trunk, model.config)).probe
    assert probe is not None
    assert probe.noisy == ()
