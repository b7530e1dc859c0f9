from __future__ import annotations

from typing import Any

import pytest
import torch

from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.decoding_copy import DecodingCopy
from textgym.models.decoding.key_value_store import KeyValueStore

IDS = torch.arange(40).reshape(2, 20)


def decoded(model: CausalLM) -> torch.Tensor:
    """Logits (2, 4, V) of a prefill and three steps."""
    store = KeyValueStore(model, 2, 20)
    with torch.no_grad():
        states = [store.prefill(torch.arange(2), TextBatch.of_ids(IDS[:, :5], torch.tensor([5, 5])))]
        states += [store.extend(IDS[:, 5 + step]) for step in range(3)]
        return model.logits(torch.stack(states, 1))


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "opt"])
def test_same_numbers_as_autocast(kind: str, make_network: Any) -> None:
    model = CausalLM(make_network(kind, torch.float32), precision="bf16")
    copy = DecodingCopy(model)
    assert torch.equal(decoded(copy.refresh()), decoded(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.logits(model.token_states(IDS)).sum().backward()
    optimizer.step()
    before = copy.current
    assert torch.equal(decoded(copy.refresh()), decoded(model))
    assert copy.current is before  # in the same places
    model.network.load_state_dict(
        {name: 1.1 * value for name, value in model.network.state_dict().items()}, assign=True
    )
    assert torch.equal(decoded(copy.refresh()), decoded(model))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_weights_that_moved_are_followed(kind: str, make_network: Any) -> None:
    model = CausalLM(make_network(kind, torch.float32), precision="bf16")
    copy = DecodingCopy(model)
    before = decoded(copy.refresh())
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.3
    assert torch.equal(decoded(copy.refresh()), decoded(model))
    assert not torch.equal(decoded(copy.refresh()), before)
    model.double().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 0.8
    assert torch.equal(decoded(copy.refresh()), decoded(model))


def test_merged_adapters_are_followed(make_network: Any) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network("llama", torch.float32), precision="bf16")
    model.add_lora(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    copy = DecodingCopy(model)
    copy.refresh()
    model.adapter.merge_adapter()
    assert torch.equal(decoded(copy.refresh()), decoded(model))


def test_products_are_cast_and_the_rest_is_shared(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2", torch.float32), precision="bf16")
    copied = DecodingCopy(model).refresh()
    layers = ("c_attn", "c_proj", "c_fc", "lm_head")
    of_products = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    own = dict(model.network.named_parameters(remove_duplicate=False))
    for name, parameter in copied.network.named_parameters(remove_duplicate=False):
        if any(name.endswith(ending) for ending in of_products):
            assert parameter.dtype == torch.bfloat16
            assert own[name].dtype == torch.float32
        else:
            assert parameter is own[name]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32)])
def test_a_model_that_needs_no_casts_is_used_as_it_is(precision: Any, dtype: torch.dtype, make_network: Any) -> None:
    model = CausalLM(make_network("llama", dtype), precision=precision)
    assert DecodingCopy(model).refresh() is model


def test_adapters_take_part_and_can_be_switched_off(make_network: Any) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network("llama", torch.float32), precision="bf16")
    model.add_lora(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    copy = DecodingCopy(model)
    adapted = decoded(copy.refresh())
    assert torch.equal(adapted, decoded(model))
    with model.without_adapter():
        plain = decoded(copy.refresh())
        assert torch.equal(plain, decoded(model))
    assert not torch.equal(plain, adapted)
    assert torch.equal(decoded(copy.refresh()), adapted)
