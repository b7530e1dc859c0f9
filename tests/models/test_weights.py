from __future__ import annotations

import subprocess
import sys
from typing import Any

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


def test_all_watches_share_one_hook(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2"))
    first = WeightsWatch(model)
    hooks = len(torch_optimizer._global_optimizer_post_hooks)
    watches = [WeightsWatch(model) for _ in range(5)]
    assert len(torch_optimizer._global_optimizer_post_hooks) == hooks
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.SGD(model.parameters(), lr=0.1, fused=True).step()  # bumps no version, and changes nothing here
    assert all(watch.sees_change() for watch in (first, *watches))
    assert not WeightsWatch(model).sees_change()
