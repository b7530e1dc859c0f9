"""A language model as the Q network of Stable-Baselines3's DQN."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch

from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.q_policy import QOptions, TextQPolicy
from textgym.agents.common.replay import EpisodeReplayBuffer
from textgym.errors import ModelError, TokenizerMismatchError
from textgym.models.batch import EpisodeBatch

TEXTS = [[5, 6, 7], [5, 6], [9, 4, 4, 8], [5, 6, 7, 2]]


@pytest.fixture
def make_q(token_space: Any, make_network: Any) -> Any:
    """``make_q(network=None, **options)``: a policy with heads that are not 0."""

    def make(network: Any = None, **options: Any) -> TextQPolicy:
        spaces = token_observation_space(48, int(token_space.n), 40), token_space
        policy = TextQPolicy(*spaces, lambda _: 1e-3, network or make_network(), **options)
        torch.manual_seed(1)
        for head in (policy.q_net.value_head, policy.q_net.advantage_head):
            torch.nn.init.normal_(head.weight, std=0.5)
        return policy

    return make


def observe(texts: list[list[int]]) -> dict[str, torch.Tensor]:
    ids = torch.zeros(len(texts), 48, dtype=torch.int64)
    mask = torch.zeros(len(texts), 48, dtype=torch.int8)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": torch.full((len(texts), 1), 1)}


def by_hand(policy: TextQPolicy, text: list[int]) -> torch.Tensor:
    """Q(s, .) from the bare Hugging Face model, one unpadded text at a time."""
    with torch.no_grad():
        found = policy.model.network(input_ids=torch.tensor([text]), output_hidden_states=True)
        state, log_probs = found.hidden_states[-1][0, -1], found.logits[0, -1, :377].log_softmax(-1)
        values: torch.Tensor = policy.q_net.value_head(state) + policy.q_net.advantage_head(state)
        return values + policy.options.prior_scale * log_probs


@pytest.mark.parametrize("prior_scale", [0.0, 0.5])
def test_values_are_those_of_the_bare_model_on_every_path(make_q: Any, prior_scale: float) -> None:
    policy = make_q(prior_scale=prior_scale)
    expected = torch.stack([by_hand(policy, text) for text in TEXTS])
    torch.testing.assert_close(policy.q_values(observe(TEXTS)).detach(), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(policy.q_net(observe(TEXTS)).detach(), expected, rtol=0, atol=1e-4)
    with torch.no_grad():
        grown = [[text[: at + 1] for text in TEXTS] for at in range(4)]
        for texts in grown:  # each call extends the texts of the one before
            found = policy.q_values(observe(texts))
            torch.testing.assert_close(found, torch.stack([by_hand(policy, text) for text in texts]), rtol=0, atol=1e-4)
    batch = EpisodeBatch(
        torch.tensor([TEXTS[3]]), torch.tensor([1]), torch.zeros(2, dtype=torch.int64), torch.tensor([1, 2])
    )
    torch.testing.assert_close(policy.q_net(batch).detach(), expected[[1, 0]], rtol=0, atol=1e-4)


def test_a_new_network_prefers_what_the_model_writes(token_space: Any, make_network: Any) -> None:
    spaces = token_observation_space(48, int(token_space.n), 40), token_space
    policy = TextQPolicy(*spaces, lambda _: 1e-3, make_network())
    with torch.no_grad():
        values = policy.q_values(observe(TEXTS))
        logits = policy.model.network(input_ids=torch.tensor([TEXTS[0]])).logits[0, -1, :377]
    assert int(values[0].argmax()) == int(logits.argmax())
    torch.testing.assert_close(values[0], 0.1 * logits.log_softmax(-1), rtol=0, atol=1e-5)
    assert bool((values <= 0).all())
    without = TextQPolicy(*spaces, lambda _: 1e-3, make_network(), prior_scale=0.0)
    assert bool((without.q_values(observe(TEXTS)) == 0).all())


def test_tokens_are_the_best_ones_or_drawn_by_softmax(make_q: Any) -> None:
    policy = make_q()
    many = observe([TEXTS[0]] * 2000)
    best = int(by_hand(policy, TEXTS[0]).argmax())
    assert set(policy.choose(many).tolist()) == {best}
    policy = make_q(temperature=2.0)
    assert set(policy.choose(many, deterministic=True).tolist()) == {best}
    drawn = policy.choose(many, generator=torch.Generator().manual_seed(0))
    expected = (by_hand(policy, TEXTS[0]) / 2.0).softmax(-1)
    assert float((drawn == best).float().mean()) == pytest.approx(float(expected[best]), abs=0.04)


def test_the_target_network_is_a_frozen_copy(make_q: Any) -> None:
    policy = make_q()
    assert not any(parameter.requires_grad for parameter in policy.q_net_target.parameters())
    trained = {id(parameter) for group in policy.optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in policy.q_net.parameters()}
    named = zip(policy.q_net.named_parameters(), policy.q_net_target.named_parameters(), strict=True)
    assert all(one[0] == other[0] and one[1] is not other[1] for one, other in named)


@pytest.mark.parametrize("prior_scale", [0.0, 0.1])
def test_values_begin_where_they_are_told_to(token_space: Any, make_network: Any, prior_scale: float) -> None:
    space = token_observation_space(48, int(token_space.n), 40)
    make = partial(TextQPolicy, space, token_space, lambda _: 1e-3, make_network(), prior_scale=prior_scale)
    with torch.no_grad():
        values, from_0 = (make(initial_value=value).q_net(observe([[5, 6, 7]])) for value in (-4.5, 0.0))
    torch.testing.assert_close(values, from_0 - 4.5)
    assert from_0.abs().max() > 0 if prior_scale else from_0.abs().max() == 0
    with pytest.raises(ValueError, match="initial_value that is a finite number, got nan"):
        make(initial_value=math.nan)


def test_stock_dqn_takes_it_as_it_is(make_env: Any, make_network: Any, length_reward: Any) -> None:
    """Nothing of textgym's agent is needed: policy and buffer are arguments of Stable-Baselines3's class."""
    agent = stable_baselines3.DQN(
        TextQPolicy,
        make_env(3, reward=length_reward),
        replay_buffer_class=EpisodeReplayBuffer,
        policy_kwargs={"model": make_network()},
        buffer_size=40,
        learning_starts=12,
        target_update_interval=9,
        device="cpu",
        seed=0,
    )
    before = [parameter.detach().clone() for parameter in agent.policy.q_net.parameters()]
    agent.learn(72)
    assert agent.replay_buffer.size() == 40
    changed = [not torch.equal(*pair) for pair in zip(before, agent.policy.q_net.parameters(), strict=True)]
    assert sum(changed) > len(changed) // 2
    target = zip(agent.policy.q_net.parameters(), agent.policy.q_net_target.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in target)


def test_the_loss_of_an_update_is_that_of_whole_texts(make_q: Any) -> None:
    """Temporal-difference targets by hand: r + gamma max_b Q_target(s', b), without the second term at the end."""
    policy = make_q()
    policy.q_net_target.load_state_dict(policy.q_net.state_dict())
    with torch.no_grad():
        policy.q_net_target.value_head.bias += 0.3
    spaces = policy.observation_space, policy.action_space
    buffer = EpisodeReplayBuffer(10, *spaces, n_envs=1)
    text, rewards = [5, 6, 7, 2], [0.0, 0.25, 1.0]
    for at, reward in enumerate(rewards, start=1):
        before, after = observe([text[:at]]), observe([text[: at + 1]])
        step = [{name: tensor.numpy() for name, tensor in each.items()} for each in (before, after)]
        buffer.add(*step, np.array([text[at]]), np.array([reward]), np.array([at == 3]), [{}])
    data = buffer.samples(np.arange(3))
    found = policy.q_net_target(data.next_observations).max(1).values
    expected = torch.stack([by_hand(policy, text[: at + 1]).max() + 0.3 for at in (1, 2)])
    torch.testing.assert_close(found[:2], expected, rtol=0, atol=1e-4)
    assert data.dones[:, 0].tolist() == [0.0, 0.0, 1.0]


def test_mistakes(token_space: Any, make_network: Any, model_folder: Any) -> None:
    for options, words in (
        ({"prior_scale": -1.0}, "prior_scale of at least 0"),
        ({"temperature": -0.1}, "temperature of at least 0"),
        ({"precision": "fp8"}, "precision 'fp32' or 'bf16'"),
    ):
        with pytest.raises(ValueError, match=words):
            QOptions(**options)  # type: ignore[arg-type]
    space = token_observation_space(48, int(token_space.n), 40)
    with pytest.raises(TokenizerMismatchError):
        TextQPolicy(space, token_space, lambda _: 1e-3, "tiny")
    long = token_observation_space(80, int(token_space.n), 40)
    with pytest.raises(ModelError, match="context of at least 80 tokens"):
        TextQPolicy(long, token_space, lambda _: 1e-3, make_network("gpt2"))
    policy = TextQPolicy(space, token_space, lambda _: 1e-3, make_network())
    for refused in (lambda: policy.save("x"), lambda: TextQPolicy.load("x")):
        with pytest.raises(ValueError, match="expected"):
            refused()
