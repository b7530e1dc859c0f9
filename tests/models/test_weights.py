from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from textgym.models.causal_lm import CausalLM
from textgym.models.weights import WeightsWatch

COUNT_HOOKS = """
import pkgutil, importlib, textgym.models, textgym.agents
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
for package in (textgym.models, textgym.agents):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(len(_global_optimizer_post_hooks) + len(_global_optimizer_pre_hooks))
"""


def test_no_import_hooks_optimizers() -> None:
    found = subprocess.run([sys.executable, "-P", "-c", COUNT_HOOKS], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "0"


def test_watches_see_fused_steps_without_hooks(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2"))
    watches = [WeightsWatch(model) for _ in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [parameter._version for parameter in model.parameters()]
    optimizer.step()
    assert [parameter._version for parameter in model.parameters()] == before  # versions do not tell
    assert all(watch.has_changed() for watch in watches)
    assert not WeightsWatch(model).has_changed()
    hooks = (torch_optimizer._global_optimizer_post_hooks, torch_optimizer._global_optimizer_pre_hooks)
    assert not any(map(len, hooks))
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_that_leaves_the_weights_shows_in_the_moments(fused: bool, make_network: Any) -> None:
    """At the end of a schedule the learning rate is 0: the moments change nevertheless."""
    model = CausalLM(make_network("gpt2"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=fused)
    for _ in range(2):  # moments of which there were none, and other ones
        of_weights, of_both = WeightsWatch(model), WeightsWatch(model, optimizer)
        assert not of_both.has_changed()
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert of_both.has_changed()
        assert not (fused and of_weights.has_changed())
