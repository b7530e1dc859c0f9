from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import DummyVecEnv

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.losses import adapt_kl_coef, clipped_policy_loss, clipped_value_loss, normalize_advantages
from textgym.agents.ppo import PPO
from textgym.errors import RewardError
from textgym.models.batch import TextBatch
from textgym.models.decoding.prefix_cache import last_hidden

FEW_TOKENS = tuple(range(20, 377))  # what ``make_agent`` suppresses


def collect(agent: PPO) -> None:
    _, callback = agent._setup_learn(10_000, reset_num_timesteps=agent._last_obs is None)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)


def hand_made_rollout(agent: PPO, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Three steps of two environments; the first text ends by EOS at step 1, the second by the budget at step 2."""
    buffer = agent.rollout_buffer
    buffer.reset()
    buffer.rewards[:] = [[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]
    buffer.log_probs[:] = [[-1.0, -2.0], [-3.0, -1.0], [-0.5, -2.5]]
    buffer.values[:] = 0.25
    buffer.episode_starts[:] = [[1, 1], [0, 0], [1, 0]]
    buffer._last = (torch.tensor([7.0, 7.0]), np.array([False, True]))
    reference = np.array([[-1.5, -2.0], [-2.0, -1.25], [-0.5, -4.5]])
    monkeypatch.setattr(agent, "_score_rollout", lambda score: reference)
    agent.reference._start = None  # numbers by hand are no start from the reference
    ended = {"rewards": {"total": 2.0}, "is_success": True, "finish_reason": "eos", "episode": {"l": 2}}
    cut = {"rewards": {"total": 1.0}, "is_success": False, "finish_reason": "length", "episode": {"l": 3}}
    agent.finished = [(1, 0, ended), (2, 1, cut)]
    return reference


# ------------------------------------------------------------------ KL
@pytest.mark.parametrize("policy", [{}, {"lora_rank": 2}, {"critic": "separate"}, {"temperature": 0.7}], ids=str)
def test_kl_is_zero_at_step_zero_and_not_later(policy: dict[str, Any], make_agent: Any) -> None:
    for recompute in (True, False):
        agent = make_agent(policy, recompute_log_probs=recompute, learning_rate=3e-2)
        agent.learn(4 * 11 * 2)
        first, second = agent.history[:2]
        assert first["kl"] == first["kl_k3"] == 0.0 if recompute else abs(first["kl"]) < 1e-5
        assert abs(second["kl"]) > 1e-3
        assert second["kl_k3"] > 1e-3


@pytest.mark.parametrize("policy", [{}, {"lora_rank": 2}], ids=str)
def test_the_reference_never_changes(policy: dict[str, Any], make_agent: Any, make_network: Any) -> None:
    agent = make_agent(policy, learning_rate=3e-2)
    ids = torch.arange(12).reshape(2, 6)
    agent.learn(4 * 11 * 2)
    with torch.no_grad():
        before = make_network().base_model(input_ids=ids)[0]
        if agent.reference.network is not None:
            after = agent.reference.network.token_states(ids)
            assert not any(parameter.requires_grad for parameter in agent.reference.network.parameters())
        else:
            with agent.policy.model.without_adapter():
                after = agent.policy.model.token_states(ids)
        changed = agent.policy.model.token_states(ids)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    assert not torch.allclose(changed, before, atol=1e-3)


@pytest.mark.parametrize("policy", [{"temperature": 0.7}, {"temperature": 0.7, "lora_rank": 2}], ids=str)
def test_the_penalty_is_that_of_the_bare_models(
    policy: dict[str, Any], make_agent: Any, make_network: Any, oracle_of: Any
) -> None:
    """Log-probabilities under policy and reference, one unpadded text at a time; temperature and mask in both."""
    agent = make_agent(policy, learning_rate=3e-2, kl_coef=0.3)
    agent.learn(4 * 11)
    collect(agent)
    buffer, current = agent.rollout_buffer, oracle_of(agent.policy)
    scores = np.zeros_like(buffer.rewards)
    for step, env, info in agent.finished:
        scores[step, env] = info["rewards"]["total"]
    start, reference = make_network(), oracle_of(agent.policy)
    with torch.no_grad():
        for segment in buffer.segments()[:5]:
            text = segment.prefix.tolist()
            for step in range(segment.start, segment.stop):
                action = int(buffer.actions[step, segment.env, 0])
                new = current.logits(text).log_softmax(0)[action]
                raw = start(input_ids=torch.tensor([text])).logits[0, -1, :377] / 0.7
                raw[list(FEW_TOKENS)] = -1e9
                old = raw.log_softmax(0)[action]
                penalty = 0.3 * float(new - old)
                assert buffer.rewards[step, segment.env] == pytest.approx(scores[step, segment.env] - penalty, abs=1e-4)
                text.append(action)
    assert reference is not current


def test_penalty_by_hand(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.1, gae_lambda=1.0)
    hand_made_rollout(agent, monkeypatch)
    agent.shape_rewards()
    # log pi - log ref: 0.5, 0 / -1, 0.25 / 0, 2; times 0.1, taken from the scores
    np.testing.assert_allclose(agent.rollout_buffer.rewards, [[-0.05, 0.0], [2.1, -0.025], [0.0, 0.8]], atol=1e-6)
    # gamma = lambda = 1: sums to the end of the text; the last text of environment 0 goes on with value 7 + 1.5
    np.testing.assert_allclose(agent.rollout_buffer.returns, [[2.05, 0.775], [2.1, 0.775], [8.5, 0.8]], atol=1e-6)
    # mean over 6 tokens, times 2.5 tokens per text; k3: e^-k - 1 + k
    assert agent._metrics["kl"] == pytest.approx(sum((0.5, 0, -1, 0.25, 0, 2)) / 6 * 2.5)
    k3 = sum(math.exp(-k) - 1 + k for k in (0.5, 0, -1, 0.25, 0, 2)) / 6 * 2.5
    assert agent._metrics["kl_k3"] == pytest.approx(k3)


def test_values_start_at_the_mean_score(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.0)
    hand_made_rollout(agent, monkeypatch)
    finished, agent.finished = agent.finished, []
    agent.shape_rewards()  # nothing to learn the mean from yet
    agent._n_updates = 1
    assert agent.policy.value_head.bias.item() == 0.0
    hand_made_rollout(agent, monkeypatch)
    agent.finished = finished
    agent.shape_rewards()  # the scores are 2 and 1
    assert agent.policy.value_head.bias.item() == pytest.approx(1.5)
    np.testing.assert_allclose(agent.rollout_buffer.values, 0.25 + 1.5)
    agent.shape_rewards()  # once
    assert agent.policy.value_head.bias.item() == pytest.approx(1.5)


def test_missing_eos_penalty_by_hand(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.0, missing_eos_penalty=0.4)
    hand_made_rollout(agent, monkeypatch)
    agent.shape_rewards()
    np.testing.assert_allclose(agent.rollout_buffer.rewards, [[0, 0], [2, 0], [0, 0.6]], atol=1e-6)


def test_whitening_never_shifts_the_mean(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.0, scale_rewards=True)
    hand_made_rollout(agent, monkeypatch)
    agent.shape_rewards()
    # scores 2 and 1: standard deviation 0.5, so they become 4 and 2: no text without a score gets one
    np.testing.assert_allclose(agent.rollout_buffer.rewards, [[0, 0], [4, 0], [0, 2]], atol=1e-5)
    agent.rollout_buffer.rewards[:] = [[0, 0], [7, 0], [0, 2]]
    agent.shape_rewards()  # the scale stays what it was
    np.testing.assert_allclose(agent.rollout_buffer.rewards, [[0, 0], [14, 0], [0, 4]], atol=1e-5)


@pytest.mark.parametrize("score", [0.0, 2.0, 1e6])
def test_equal_scores_have_no_scale(make_agent: Any, monkeypatch: pytest.MonkeyPatch, score: float) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.0, scale_rewards=True)
    hand_made_rollout(agent, monkeypatch)
    agent.rollout_buffer.rewards[:] = [[0, 0], [score, 0], [0, score * (1 + 1e-4)]]
    agent.shape_rewards()
    np.testing.assert_allclose(agent.rollout_buffer.rewards[1, 0], score)


def test_whitened_scores_far_from_zero_meet_their_values(make_agent: Any) -> None:
    """Scores around 50 that differ by 1: the value head starts where they are and is not left behind."""
    reward = {"reward": lambda prompts, responses, examples: [50.0 + len(text) % 3 for text in responses]}
    agent = make_agent(env=reward, scale_rewards=True, kl_coef=0.0)
    for _ in range(3):
        agent.learn(4 * 11, reset_num_timesteps=False)
        ends = [(step, env) for step, env, _ in agent.finished]
        assert abs(np.mean([agent.rollout_buffer.advantages[end] for end in ends])) < 1.5


def test_whitening_leaves_little_to_learn_from_one_reward_for_all(make_agent: Any) -> None:
    def gradient(**options: Any) -> float:
        agent = make_agent(env={"reward": lambda prompts, *_: [0.0] * len(prompts)}, **options)
        agent.learn(2 * 4 * 11)
        return float(agent.history[-1]["grad_norm"])

    assert gradient(scale_rewards=True) < 0.1 * gradient(scale_rewards=False)


def test_rewards_that_are_huge(make_agent: Any) -> None:
    """They drown the policy's gradient, which is said with what to do; scaled, they teach what small ones teach."""

    def moved(scale: float, **options: Any) -> tuple[float, list[str]]:
        def reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
            return [scale * (len(text) % 5 - 2.0) for text in responses]

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            agent = make_agent(env={"reward": reward}, **options)
            agent.learn(4 * 11 * 2)
        warned = [str(warning.message) for warning in caught if "rewards of order 1" in str(warning.message)]
        return max(record["approx_kl"] for record in agent.history), warned

    usual, silent = moved(1.0)
    small, warned = moved(1e6)
    assert (silent, len(warned)) == ([], 1)
    assert "set scale_rewards=True" in warned[0]
    assert small < 1e-3 * usual
    scaled, silent = moved(1e6, scale_rewards=True)
    assert silent == []
    assert scaled == pytest.approx(moved(1.0, scale_rewards=True)[0], rel=1e-3)
    assert scaled > 0.1 * usual


def test_clipped_rewards_by_hand(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.1, clip_reward=1.5)
    hand_made_rollout(agent, monkeypatch)
    agent.shape_rewards()
    # the score is clipped, the penalty is not
    np.testing.assert_allclose(agent.rollout_buffer.rewards, [[-0.05, 0.0], [1.6, -0.025], [0.0, 0.8]], atol=1e-6)


def test_whitening_and_clipping_are_off_by_default(make_agent: Any) -> None:
    agent = make_agent(kl_coef=0.0)
    collect(agent)
    for step, env, info in agent.finished:
        assert agent.rollout_buffer.rewards[step, env] == pytest.approx(info["rewards"]["total"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kl_target", 0.0),
        ("kl_coef", -1.0),
        ("kl_horizon", 0.0),
        ("missing_eos_penalty", math.nan),
        ("clip_reward", -1.0),
        ("micro_batch_size", 0),
    ],
)
def test_settings_out_of_range_are_refused(make_agent: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"expected {name} .*, got {value}"):
        make_agent(**{name: value})


def test_a_coefficient_of_0_cannot_be_adapted(make_agent: Any) -> None:
    expected = r"expected kl_coef above 0 with kl_target=6.0, which multiplies it, got 0; choose a small one"
    with pytest.raises(ValueError, match=expected):
        make_agent(kl_coef=0.0, kl_target=6.0)


def test_adaptive_coefficient(make_agent: Any) -> None:
    agent = make_agent(kl_coef=0.1, kl_target=0.05, kl_horizon=50.0, learning_rate=3e-2)
    agent.learn(4 * 11 * 3)
    coefficient = 0.1
    for record in agent.history:
        assert record["kl_coef"] == coefficient
        coefficient = adapt_kl_coef(coefficient, record["kl"], 0.05, int(record["texts"]), 50.0)
    assert agent.kl_coef == coefficient
    assert len({record["kl_coef"] for record in agent.history}) == 3


def test_a_negative_kl_is_warned_about(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3)
    hand_made_rollout(agent, monkeypatch)
    agent.finished = [agent.finished[0]] * 16
    agent.rollout_buffer.log_probs -= 30.0
    agent.shape_rewards()
    with pytest.warns(UserWarning, match="negative"):
        agent._record_update([])


# ------------------------------------------------------------------ returns and losses
@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_the_values_of_a_rollout_are_those_of_its_observations(critic: str, make_agent: Any) -> None:
    """A separate critic values whole texts after the rollout."""
    agent = make_agent({"critic": critic}, n_envs=3, n_steps=10)
    torch.nn.init.normal_(agent.policy.value_head.weight)
    agent._values_are_centered = True
    seen: list[np.ndarray[Any, Any]] = []
    rollout_ends = ConvertCallback(lambda *_: True)
    rollout_ends._on_rollout_end = lambda: seen.append(agent.rollout_buffer.values.copy())  # type: ignore[method-assign]
    _, callback = agent._setup_learn(10_000, rollout_ends)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    assert np.array_equal(seen[0], agent.rollout_buffer.values)
    buffer, width = agent.rollout_buffer, agent.observation_space["input_ids"].shape[0]
    for env, start, stop, prefix, *_ in buffer.segments():
        for step in range(start, stop):
            ids = [*prefix, *buffer.actions[start:step, env, 0]]
            row = torch.zeros(1, width, dtype=torch.long)
            row[0, : len(ids)] = torch.tensor(ids)
            observation = {"input_ids": row, "attention_mask": (torch.arange(width) < len(ids))[None].to(torch.int8)}
            with torch.no_grad():
                value = float(agent.policy.predict_values(observation))
            assert buffer.values[step, env] == pytest.approx(value, abs=1e-4)
    assert len(np.unique(buffer.values)) > 10


def test_no_bootstrap_past_the_end_of_a_text(make_agent: Any) -> None:
    """Whatever the values say, the return of every token of a finished text is its score (gamma = lambda = 1)."""
    agent = make_agent(kl_coef=0.0, gae_lambda=1.0, n_steps=30)
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(1000.0)
    collect(agent)
    ends = {(step, env): info["rewards"]["total"] for step, env, info in agent.finished}
    assert {info["finish_reason"] for _, _, info in agent.finished} == {"eos", "length"}
    assert not any(info["TimeLimit.truncated"] for _, _, info in agent.finished)
    checked = 0
    for segment in agent.rollout_buffer.segments():
        score = ends.get((segment.stop - 1, segment.env))
        if score is not None:
            returns = agent.rollout_buffer.returns[segment.start : segment.stop, segment.env]
            np.testing.assert_allclose(returns, score, atol=1e-3)
            checked += 1
    assert checked == len(ends) > 8


@pytest.mark.parametrize("critic", ["shared", "separate"])
@pytest.mark.parametrize(("suppressed", "ending"), [(FEW_TOKENS, range(1, 12)), ((0, 1), [12])], ids=["some", "all"])
def test_prompts_that_come_next_are_not_read(
    critic: str, suppressed: Any, ending: Any, make_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable-Baselines3 asks for the values after the last step, and multiplies those of ended texts by 0."""
    agent = make_agent({"critic": critic, "suppress_tokens": suppressed}, n_envs=12, n_steps=8)
    torch.nn.init.normal_(agent.policy.value_head.weight)
    agent._values_are_centered = True
    read: list[int] = []
    agent.policy.model.network.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    monkeypatch.setattr(agent, "shape_rewards", lambda: read.append(0))
    predict = agent.policy.predict_values
    monkeypatch.setattr(agent.policy, "predict_values", lambda *args: (read.clear(), predict(*args))[1])
    collect(agent)
    ended = agent._last_episode_starts
    assert ended.sum() in ending
    assert read == ([0] if ended.all() or critic == "separate" else [1, 1, 0])  # a token of each text, prompts of none
    with torch.no_grad():
        values = agent.policy.predict_values(obs_as_tensor(agent._last_obs, agent.device)).numpy()
    last, dones = agent.rollout_buffer._last
    assert np.array_equal(dones, ended)
    np.testing.assert_allclose(last.numpy(), np.where(ended[:, None], 0.0, values), atol=1e-5)


def test_texts_that_a_time_limit_cuts_have_values(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of their last observation, at the last step of a rollout too."""
    settings = {"n_steps": 12, "kl_coef": 0.0, "gae_lambda": 1.0}
    agent = make_agent({"suppress_tokens": (0, 1)}, {"max_new_tokens": 6}, **settings)
    agent._values_are_centered = True
    with torch.no_grad():
        agent.policy.value_head.bias.fill_(1000.0)
    step = agent.env.step

    def cut(actions: Any) -> Any:
        *rest, infos = step(actions)
        return *rest, [{**info, "TimeLimit.truncated": "terminal_observation" in info} for info in infos]

    monkeypatch.setattr(agent.env, "step", cut)
    collect(agent)
    ends = {(step, env): info["rewards"]["total"] for step, env, info in agent.finished}
    assert {step for step, _ in ends} == {5, 11}
    for segment in agent.rollout_buffer.segments():
        returns = agent.rollout_buffer.returns[segment.start : segment.stop, segment.env]
        np.testing.assert_allclose(returns, 1000.0 + ends[segment.stop - 1, segment.env], rtol=1e-5)


def test_defaults_are_those_of_text(make_agent: Any) -> None:
    agent = make_agent()
    assert (agent.gamma, agent.gae_lambda, agent.scale_rewards, agent.clip_reward) == (1.0, 0.95, False, None)
    assert agent.policy.optimizer.param_groups[0]["eps"] == 1e-5


def gradients(agent: PPO, micro_batch_size: int | None, members: list[Any]) -> list[torch.Tensor | None]:
    agent.micro_batch_size = micro_batch_size
    agent.policy.optimizer.zero_grad(set_to_none=True)
    agent.accumulate_gradients(members)
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in agent.policy.parameters()]


@pytest.mark.parametrize("policy", [{}, {"critic": "separate", "lora_rank": 2}], ids=str)
def test_micro_batches_give_the_gradients_of_the_whole(policy: dict[str, Any], make_agent: Any) -> None:
    agent = make_agent(policy, ent_coef=0.1, learning_rate=1e-2)
    agent.learn(4 * 11)
    collect(agent)
    agent.policy.double()
    members = agent.rollout_buffer.segments()
    whole = gradients(agent, None, members)
    assert any(grad is not None and float(grad.abs().max()) > 1e-3 for grad in whole)
    for size in (1, 7, 20):
        for left, right in zip(whole, gradients(agent, size, members), strict=True):
            assert (left is None) == (right is None)
            if left is not None and right is not None:
                torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("whiten", [False, True])
def test_padding_adds_nothing_to_the_loss(make_agent: Any, whiten: bool) -> None:
    """A minibatch's loss is the mean over its tokens, each scored alone by the bare losses."""
    agent = make_agent(
        ent_coef=0.1, vf_coef=0.7, clip_range=0.1, clip_range_vf=0.05, learning_rate=1e-2, scale_rewards=whiten
    )
    agent.learn(4 * 11)
    collect(agent)
    with torch.no_grad():
        agent.policy.value_head.bias += 0.3
    policy, buffer = agent.policy, agent.rollout_buffer
    policy_losses, value_losses, entropies = [], [], []
    advantages = torch.from_numpy(
        np.concatenate([buffer.advantages[s.start : s.stop, s.env] for s in buffer.segments()])
    )
    normalized = advantages - advantages.mean() if whiten else normalize_advantages(advantages)
    tokens = [(s, step) for s in buffer.segments() for step in range(s.start, s.stop)]
    for (segment, step), advantage in zip(tokens, normalized, strict=True):
        text = [*segment.prefix.tolist(), *buffer.actions[segment.start : step, segment.env, 0].tolist()]
        states = last_hidden(policy.model, TextBatch.of_ids(torch.tensor([text]), torch.tensor([len(text)])))
        log_probs = policy.action_logits(states).log_softmax(1)[0]
        new = log_probs[int(buffer.actions[step, segment.env, 0])]
        at = (step, segment.env)
        old, value, target = (torch.tensor([a[at]]) for a in (buffer.log_probs, buffer.values, buffer.returns))
        policy_losses.append(clipped_policy_loss(new[None], old, advantage[None], 0.1))
        value_losses.append(clipped_value_loss(policy.value_head(states)[0], value, target, 0.05))
        entropies.append(-(log_probs.exp() * log_probs).sum())
    expected = (
        torch.cat(policy_losses).mean() + 0.7 * torch.cat(value_losses).mean() - 0.1 * torch.stack(entropies).mean()
    )
    statistics = agent.accumulate_gradients(buffer.segments())
    assert statistics["loss"] == pytest.approx(float(expected.detach()), abs=1e-4)
    assert statistics["entropy"] == pytest.approx(float(torch.stack(entropies).mean().detach()), abs=1e-4)


def test_the_first_minibatch_has_ratio_one(make_agent: Any) -> None:
    agent = make_agent()
    for _ in range(2):
        collect(agent)
        agent.policy.set_training_mode(True)
        statistics = agent.accumulate_gradients(next(agent.rollout_buffer.minibatches(16)))
        assert statistics["ratio_max"] == pytest.approx(1.0, abs=1e-4)
        assert abs(statistics["approx_kl"]) < 1e-6
        assert statistics["clip_fraction"] == 0.0
        agent.train()


def test_target_kl_stops_the_epochs(make_agent: Any) -> None:
    agent = make_agent(target_kl=1e-9, learning_rate=3e-2, n_epochs=50)
    collect(agent)
    agent.train()
    assert agent._n_updates == 1  # the second minibatch already is too far away


def test_gradient_norm_is_clipped_and_logged(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(max_grad_norm=1e-3)
    norms = []
    original = agent.policy.optimizer.step

    def spy(*arguments: Any) -> Any:
        grads = [parameter.grad for parameter in agent.policy.parameters() if parameter.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
        return original(*arguments)

    monkeypatch.setattr(agent.policy.optimizer, "step", spy)
    agent.learn(4 * 11)
    assert max(norms) <= 1.001e-3
    assert agent.history[0]["grad_norm"] > 1e-3


def nan_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    return [math.nan for _ in responses]


def short_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    return [1.0] * (len(responses) + 1)


@pytest.mark.parametrize("reward", [nan_reward, short_reward])
def test_bad_rewards_never_reach_the_buffer(reward: Any, make_agent: Any) -> None:
    agent = make_agent(env={"reward": reward})
    before = {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}
    with pytest.raises(RewardError):
        agent.learn(4 * 11)
    assert np.isfinite(agent.rollout_buffer.rewards).all()
    assert all(torch.equal(before[name], tensor) for name, tensor in agent.policy.state_dict().items())


def test_an_infinite_loss_is_an_error(make_agent: Any) -> None:
    agent = make_agent()
    collect(agent)
    agent.rollout_buffer.returns[0, 0] = math.inf
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        agent.train()


# ------------------------------------------------------------------ logs
def test_learning_rate_decays_linearly_to_zero(make_agent: Any) -> None:
    agent = make_agent(learning_rate=1e-3)
    agent.learn(4 * 11 * 4)
    rates = [record["learning_rate"] for record in agent.history]
    assert rates == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])  # the last update still counts
    agent = make_agent(learning_rate=lambda _: 1e-3)
    agent.learn(4 * 11 * 2)
    assert [record["learning_rate"] for record in agent.history] == [1e-3, 1e-3]


def test_what_is_logged(make_agent: Any) -> None:
    """Checklist 32 and 33."""
    agent = make_agent()
    agent.learn(4 * 11 * 2)
    assert len(agent.history) == 2
    for record in agent.history:
        assert record.keys() >= {
            "reward", "reward/total", "gold", "success", "kl", "kl_k3", "kl_coef", "entropy", "clip_fraction",
            "ratio_max", "approx_kl", "explained_variance", "value_error", "length", "eos", "tokens_per_second",
            "policy_loss", "value_loss", "grad_norm", "learning_rate", "timesteps", "texts",
        }  # fmt: skip
        assert all(isinstance(value, float) for value in record.values())
        assert record["tokens_per_second"] > 0
    assert agent.seconds.keys() == {"rollout", "reference", "update"}
    last, infos = agent.history[-1], [info for _, _, info in agent.finished]
    assert last["texts"] == len(infos)
    assert last["reward"] == pytest.approx(np.mean([info["rewards"]["total"] for info in infos]))
    assert last["gold"] == pytest.approx(np.mean([info["gold"] for info in infos]))
    assert last["gold"] != last["reward"]
    assert last["eos"] == np.mean([info["finish_reason"] == "eos" for info in infos])
    assert 0 < last["eos"] < 1
    assert last["length"] == np.mean([info["episode"]["l"] for info in infos])
    assert all(isinstance(info["text"], str) for info in infos)  # what a table of samples shows
    assert last["timesteps"] == 4 * 11 * 2


class TwoKeys(gym.Env[dict[str, np.ndarray[Any, Any]], int]):
    """A token environment of a user: two keys, nothing in its infos; counts how often token 5 was chosen."""

    def __init__(self) -> None:
        ids, mask = gym.spaces.Box(0, 376, (8,), np.int64), gym.spaces.Box(0, 1, (8,), np.int8)
        self.observation_space = gym.spaces.Dict({"input_ids": ids, "attention_mask": mask})
        self.action_space = gym.spaces.Discrete(377)  # type: ignore[assignment]

    def observe(self) -> dict[str, np.ndarray[Any, Any]]:
        ids = np.array([*self.text, *[0] * (8 - len(self.text))], dtype=np.int64)
        return {"input_ids": ids, "attention_mask": (np.arange(8) < len(self.text)).astype(np.int8)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.text = [5, 6]
        return self.observe(), {}

    def step(self, action: int) -> Any:
        self.text.append(int(action))
        return self.observe(), float(action == 5), len(self.text) == 8, False, {}


def test_an_environment_with_bare_infos(make_network: Any) -> None:
    policy = {"model": make_network(), "suppress_tokens": range(8, 377)}
    agent = PPO(CausalLMPolicy, TwoKeys(), n_steps=12, batch_size=12, seed=0, policy_kwargs=policy)
    agent.learn(24)
    for record in agent.history:
        assert (record["texts"], record["length"]) == (2.0, 6.0)
        assert not {"gold", "success", "eos", "reward/total"} & record.keys()
    returns = [info["episode"]["r"] for _, _, info in agent.finished]
    assert agent.history[-1]["reward"] == np.mean(returns) > 0


def test_lengths_need_no_monitor(make_agent: Any) -> None:
    """Lengths, the KL per text and what is made of them are those of the rollout, whatever wraps the environment."""
    runs = []
    for monitored in (True, False):
        agent = make_agent(n_steps=5, kl_target=0.05, kl_horizon=50.0, learning_rate=3e-2)
        agent.set_env(agent.env if monitored else agent.env.venv)
        agent.learn(4 * 5 * 6)
        runs.append([{name: row[name] for name in row if name != "tokens_per_second"} for row in agent.history])
    assert runs[0] == runs[1]
    assert any(row.get("length", 0) > 5 for row in runs[0])  # of texts that several rollouts wrote


class CutAfterThree(gym.Wrapper[Any, Any, Any, Any]):
    """A limit of steps that is not Gymnasium's, which environments refuse."""

    steps = 0

    def reset(self, **kwargs: Any) -> Any:
        self.steps = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated or self.steps == 3, info


@pytest.mark.filterwarnings("ignore:expected texts|.*given up after")
def test_lengths_of_texts_that_a_limit_cuts(env_ids: tuple[str, str], tokenizer_folder: Any, make_network: Any) -> None:
    def limited() -> gym.Env[Any, Any]:
        return CutAfterThree(Monitor(gym.make(env_ids[0], model=str(tokenizer_folder))))

    policy = {"model": make_network(), "suppress_tokens": (1,)}
    agent = PPO(CausalLMPolicy, DummyVecEnv([limited] * 2), n_steps=7, seed=0, policy_kwargs=policy)
    agent.learn(2 * 7)
    assert (agent.history[0]["texts"], agent.history[0]["length"]) == (4.0, 3.0)


def test_infos_that_only_some_texts_have(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent(n_envs=2, n_steps=3, kl_coef=0.0)
    hand_made_rollout(agent, monkeypatch)
    cut = {"episode": {"r": 1.0, "l": 3}, "TimeLimit.truncated": True}  # by a wrapper, so the text was never scored
    agent.finished = [agent.finished[0], (2, 1, cut)]
    agent.shape_rewards()
    known = {name: agent._metrics[name] for name in ("reward", "reward/total", "success", "eos", "texts", "length")}
    assert known == {"reward": 1.5, "reward/total": 2.0, "success": 1.0, "eos": 1.0, "texts": 2.0, "length": 2.5}


def test_a_rollout_without_a_finished_text(make_agent: Any) -> None:
    agent = make_agent({"suppress_tokens": (1,)}, n_steps=5, batch_size=8, kl_target=1.0)
    agent.learn(4 * 5)
    assert agent.history[0]["texts"] == 0.0
    assert "reward" not in agent.history[0]
    agent.learn(4 * 5, reset_num_timesteps=False)
    assert agent.history[1]["texts"] == 4.0


def test_batch_size_needs_no_divisor(make_agent: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_agent(batch_size=17)


@pytest.mark.parametrize("name", ["clip_range", "clip_range_vf", "target_kl"])
def test_bounds_of_a_step_are_not_negative(name: str, make_agent: Any) -> None:
    with pytest.raises(ValueError, match=f"expected {name} of at least 0, got -0.1; choose another"):
        make_agent(**{name: -0.1})


def test_the_first_number_out_of_range_is_named(make_agent: Any) -> None:
    """The same one in every process: not by the order of a set."""
    with pytest.raises(ValueError, match="expected kl_coef of at least 0"):
        make_agent(gamma=-1.0, kl_coef=-1.0, vf_coef=-1.0)
