"""Advantage-weighted regression: the loss by hand, and better texts than those of the log."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from textgym.agents.awr import AWR
from textgym.agents.common.logged_texts import LoggedTurn
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.loading import load_language_model

EPISODES = [(LoggedTurn([5, 6], [7, 8], 1.0),), (LoggedTurn([5], [9], 0.0),)]


def test_the_loss_by_hand(make_network: Any) -> None:
    agent = AWR(CausalLM(make_network()), EPISODES, beta=0.5, gamma=0.9, vf_coef=0.25)
    torch.nn.init.normal_(agent.value_head.weight, std=0.3)
    losses, values = [], []
    for ids, action, wanted in (([5, 6], 7, 0.9), ([5, 6, 7], 8, 1.0), ([5], 9, 0.0)):
        with torch.no_grad():
            found = agent.model.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
            value = agent.value_head(found.hidden_states[-1][0, -1])[0]
            weight = ((wanted - value) / 0.5).exp().clamp(max=20.0)
            losses.append(float(-weight * found.logits[0, -1].log_softmax(-1)[action]))
            values.append(float((wanted - value) ** 2))
    loss, statistics = agent.loss([0, 1], None)  # type: ignore[arg-type]  # it draws nothing
    assert float(statistics["policy_loss"]) == pytest.approx(sum(losses) / 3, abs=1e-4)
    assert float(statistics["value_loss"]) == pytest.approx(sum(values) / 3, abs=1e-4)
    assert float(loss) == pytest.approx(sum(losses) / 3 + 0.25 * sum(values) / 3, abs=1e-4)


def test_values_begin_at_the_mean_return_and_leave_the_model_alone(make_network: Any) -> None:
    agent = AWR(CausalLM(make_network()), EPISODES)
    assert float(agent.value_head.bias) == 0.5
    _, statistics = agent.loss([0, 1], None)  # type: ignore[arg-type]
    gradients = torch.autograd.grad(statistics["value_loss"], [*agent.model.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def test_it_writes_the_best_of_the_log() -> None:
    """All texts about two words are in the log, once each: it learns which of them is right."""
    model = load_language_model("letters")
    tokenizer = model.tokenizer
    words = ("ab", "ca")
    episodes = [
        (LoggedTurn(tokenizer.encode(f"{word}="), tokenizer.encode(a + b), ((a == word[0]) + (b == word[1])) / 2),)
        for word in words
        for a in "abc"
        for b in "abc"
    ]
    agent = AWR(model, episodes, beta=0.1, learning_rate=3e-3, batch_size=18, seed=0)
    agent.learn(60)
    prompts = [tokenizer.encode(f"{word}=") for word in words]
    written = generate(model, prompts, max_new_tokens=2, eos_ids=[1], temperature=0)
    assert [tokenizer.decode(ids) for ids in written] == list(words)
    assert agent.history[-1]["value_loss"] < 0.15
    assert 0 < agent.history[-1]["effective_share"] < 1
