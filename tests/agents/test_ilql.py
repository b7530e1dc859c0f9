"""Implicit Q-learning: the loss by hand, values of the log, and texts that they guide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from textgym.agents.common.logged_texts import LoggedTurn
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ilql import ILQL
from textgym.evaluation.core import text_model_of
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model

EPISODES = [(LoggedTurn([5, 6], [7, 8], 1.0),), (LoggedTurn([5], [9], 0.25),)]
STEPS = [([5, 6], 7, 0.0, [5, 6, 7]), ([5, 6, 7], 8, 1.0, None), ([5], 9, 0.25, None)]
"""Text, token, reward and the text that follows."""


@pytest.fixture
def agent(make_network: Any) -> ILQL:
    options: dict[str, Any] = {"gamma": 0.9, "expectile": 0.7, "cql_coef": 0.5, "bc_coef": 2.0}
    agent = ILQL(CausalLM(make_network()), EPISODES, **options)
    torch.manual_seed(0)
    for module in (agent.heads, agent.targets):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return agent


def states_of(agent: ILQL, texts: list[list[int]]) -> torch.Tensor:
    """Hidden states (n, H) of the bare model, one text at a time."""
    with torch.no_grad():
        found = [agent.model.network(input_ids=torch.tensor([ids]), output_hidden_states=True) for ids in texts]
        return torch.stack([each.hidden_states[-1][0, -1] for each in found])


def test_the_loss_by_hand(agent: ILQL) -> None:
    parts: dict[str, float] = dict.fromkeys(("q_loss", "value_loss", "cql_loss", "bc_loss"), 0.0)
    with torch.no_grad():
        for ids, action, reward, following in STEPS:
            state = states_of(agent, [ids])[0]
            target = reward + (0.9 * agent.heads["v"](states_of(agent, [following])[0]) if following else 0.0)
            q_values = [agent.heads[name](state) for name in ("q_1", "q_2")]
            least = min(float(agent.targets[name](state)[action]) for name in ("q_1", "q_2"))
            error = least - float(agent.heads["v"](state))
            parts["q_loss"] += sum(float((target - each[action]) ** 2) for each in q_values) / 3
            parts["value_loss"] += (0.7 if error > 0 else 0.3) * error**2 / 3
            parts["cql_loss"] += sum(float(each.logsumexp(0) - each[action]) for each in q_values) / 3
            log_probs = agent.model.network(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            parts["bc_loss"] += -float(log_probs[action]) / 3
    loss, statistics = agent.loss([0, 1], None)  # type: ignore[arg-type]  # it draws nothing
    for name, expected in parts.items():
        assert float(statistics[name]) == pytest.approx(expected, abs=1e-4), name
    expected = parts["q_loss"] + parts["value_loss"] + 0.5 * parts["cql_loss"] + 2.0 * parts["bc_loss"]
    assert float(loss) == pytest.approx(expected, abs=1e-3)


def test_what_it_writes_with(agent: ILQL) -> None:
    states = states_of(agent, [[5, 6], [9, 4]])
    with torch.no_grad():
        logits = agent.model.logits(states)
        least = torch.min(agent.targets["q_1"](states), agent.targets["q_2"](states))
        expected = logits + 8.0 * (least - agent.heads["v"](states))
        torch.testing.assert_close(agent.logits(states), expected)
        agent.beta = 0.0
        torch.testing.assert_close(agent.logits(states), logits)
    assert text_model_of(agent) is None  # its language model alone writes something else


def test_values_begin_at_the_mean_return_of_the_log(make_network: Any) -> None:
    agent = ILQL(CausalLM(make_network()), EPISODES)  # returns 1 and 0.25
    states = states_of(agent, [[5, 6], [9, 4]])
    for head in (*agent.heads.values(), *agent.targets.values()):
        assert torch.equal(head(states), torch.full_like(head(states), 0.625))
    torch.testing.assert_close(agent.logits(states), agent.model.logits(states))  # no advantage yet
    assert not ILQL(CausalLM(make_network())).heads["v"](states).any()


def test_target_heads_follow(make_network: Any) -> None:
    agent = ILQL(CausalLM(make_network()), EPISODES, target_rate=0.25, learning_rate=1e-2, warmup=0.0)
    before = [parameter.clone() for parameter in agent.targets.parameters()]
    agent.learn(1)
    after = [*agent.targets.parameters()]
    trained = [parameter for name in ("q_1", "q_2") for parameter in agent.heads[name].parameters()]
    for old, new, head in zip(before, after, trained, strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * head)
        assert not new.requires_grad


@pytest.mark.parametrize("critic", ["shared", "detached"])
def test_detached_heads_leave_the_model_alone(critic: Any, make_network: Any) -> None:
    agent = ILQL(CausalLM(make_network()), EPISODES, critic=critic)
    for parameter in agent.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    _, statistics = agent.loss([0, 1], None)  # type: ignore[arg-type]
    gradients = torch.autograd.grad(statistics["q_loss"], [*agent.model.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in gradients) == (critic == "detached")
    with pytest.raises(ValueError, match="expected critic 'shared' or 'detached', got 'none'"):
        ILQL(CausalLM(make_network()), critic="none")  # type: ignore[arg-type]


def test_values_guide_it_to_the_best_of_the_log() -> None:
    """All texts about two words are in the log, once each; its imitation is as random as they are."""
    model = load_language_model("letters")
    tokenizer = model.tokenizer
    words = ("ab", "ca")
    episodes = [
        (LoggedTurn(tokenizer.encode(f"{word}="), tokenizer.encode(a + b), ((a == word[0]) + (b == word[1])) / 2),)
        for word in words
        for a in "abc"
        for b in "abc"
    ]
    options: dict[str, Any] = {"learning_rate": 5e-3, "target_rate": 0.1, "cql_coef": 0.01, "bc_coef": 0.1}
    agent = ILQL(model, episodes, batch_size=18, seed=0, **options)
    agent.learn(100)
    # Behind the right letter one text in three is worth 1, the others 0.5: 0.8 (1 - v) = 0.2 * 2 (v - 0.5), v = 5 / 6.
    letters = {letter: tokenizer.encode(letter)[0] for letter in "abc"}
    with torch.no_grad():
        for word in words:
            first, second = (
                agent._least(states_of(agent, [tokenizer.encode(word + "=" + begun)]))[0] for begun in ("", word[0])
            )
            for letter, id_ in letters.items():
                assert float(first[id_]) == pytest.approx(5 / 6 if letter == word[0] else 1 / 3, abs=0.1)
                assert float(second[id_]) == pytest.approx(1.0 if letter == word[1] else 0.5, abs=0.1)
    env = make_vec_env("TextSpell-v0", 2, 0, data=list(words), density="dense")
    for beta, right in ((20.0, True), (0.0, False)):
        agent.beta = beta
        observed, rewards = env.reset(), np.zeros(2)
        for _ in range(2):
            observed, paid, _, _ = env.step(agent.act(observed, greedy=True))
            rewards = rewards + paid
        assert bool((rewards == 1.0).all()) == right
