from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from textgym.agents import PPO, CausalLMPolicy
from textgym.models.batch import EpisodeBatch

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile needs a C++ compiler"
)


@pytest.mark.slow
def test_compiled_updates_equal_eager_ones(make_policy: Any, make_network: Any) -> None:
    """Texts of three shapes: log-probabilities, values and every gradient."""
    networks = [make_network(num_hidden_layers=1) for _ in range(2)]
    eager = make_policy(networks[0], critic="shared")
    compiled = make_policy(networks[1], critic="shared", compile=True)
    compiled.load_state_dict(eager.state_dict())
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    for texts, length in ((2, 6), (3, 9), (1, 4)):
        ids = torch.randint(0, 64, (texts, length), generator=torch.Generator().manual_seed(texts))
        rows = torch.arange(texts).repeat_interleave(2)
        positions = torch.tensor([length - 2, length - 1]).repeat(texts)
        batch = EpisodeBatch(ids, torch.ones(texts, dtype=torch.long), rows, positions)

        found = []
        for policy in (eager, compiled):
            policy.zero_grad()
            values, log_probs, entropy = policy.evaluate_actions(batch, torch.arange(2 * texts))
            (values.sum() + log_probs.sum() + entropy.sum()).backward()
            gradients = [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]
            found.append([values, log_probs, entropy, *gradients])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_with_a_compiled_policy(make_env: Any, make_network: Any) -> None:
    """What is compiled scores as what decoded, and the reference, compiled as well, is not the policy."""
    agent = PPO(
        CausalLMPolicy,
        make_env(4),
        n_steps=12,
        batch_size=16,
        n_epochs=1,
        kl_coef=0.0,
        learning_rate=1e-2,
        policy_kwargs={"model": make_network("llama"), "compile": True},
    )
    agent.learn(96)
    assert agent.history[0]["kl"] == pytest.approx(0.0, abs=1e-3)
    assert abs(agent.history[1]["kl"]) > 1e-3  # the reference stayed where it was
