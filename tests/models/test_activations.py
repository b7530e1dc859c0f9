from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from textgym.models.causal_lm import CausalLM


@pytest.mark.parametrize(("kind", "setting"), [("gpt2", {}), ("gpt2", {"activation_function": "gelu_fast"})])
def test_a_gelu_that_is_written_out_becomes_one_kernel(kind: str, setting: dict[str, str], make_network: Any) -> None:
    network = make_network(kind, **setting)
    twin, ids = copy.deepcopy(network), torch.arange(40).reshape(2, 20)
    model = CausalLM(network)
    torch.testing.assert_close(model.logits(model.token_states(ids)), twin(ids).logits, rtol=0, atol=1e-9)
    assert sum(isinstance(module, nn.GELU) for module in network.modules()) == 2  # one per layer
    assert network.config.activation_function == twin.config.activation_function


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt"])
def test_other_activations_stay(kind: str, make_network: Any) -> None:
    network = make_network(kind)
    before = [type(module) for module in network.modules()]
    CausalLM(network)
    assert [type(module) for module in network.modules()] == before
