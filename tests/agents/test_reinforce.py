from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.facts import AgentFacts
from textgym.agents.reinforce import REINFORCE


def share_of_bangs(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Share of one of the twenty tokens that are allowed, of at most 4."""
    return [text.count("!") / 4 for text in responses]


@pytest.fixture
def make_reinforce(make_env: Any, make_network: Any, length_reward: Any) -> Any:
    """``make_reinforce(baseline, **arguments)``: texts of up to 4 tokens in 4 environments, 8 a rollout."""

    def make(
        baseline: str = "mean", scale: float = 4.0, n_envs: int = 4, reward: Any = length_reward, **more: Any
    ) -> Any:
        policy = {"model": make_network(seed=3, scale=scale), "suppress_tokens": tuple(range(20, 377))}
        env = make_env(n_envs, reward=reward, max_new_tokens=4)
        settings = {"rollout_texts": 2 * n_envs, "learning_rate": 1e-2, "seed": 1, **more}
        return REINFORCE("CausalLMPolicy", env, baseline=baseline, policy_kwargs=policy, **settings)

    return make


@pytest.mark.parametrize("baseline", ["none", "mean", "learned"])
def test_solves_a_trivial_task(baseline: str, make_reinforce: Any) -> None:
    options = {"kl_coef": 0.0, "rollout_texts": 32, "learning_rate": lambda _: 1e-2, "seed": 3}
    agent = make_reinforce(baseline, 1.0, n_envs=16, reward=share_of_bangs, **options)
    agent.learn(16 * 8 * 16)
    rewards = [record["reward"] for record in agent.history]
    assert rewards[0] < 0.1
    assert np.mean(rewards[-2:]) > 0.5


def test_steps_per_iteration_are_those_of_the_longest_texts(make_reinforce: Any, tmp_path: Path) -> None:
    agent = make_reinforce()  # 8 texts of up to 4 tokens
    assert agent.steps_per_iteration == 32
    agent.learn(1)
    assert 8 <= agent.num_timesteps <= 32
    agent.save(tmp_path / "agent")
    assert REINFORCE.load(tmp_path / "agent").steps_per_iteration == 32  # without an environment


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("gamma", -1, ValueError, "gamma of at least 0, got -1"),
        ("gamma", 1.5, ValueError, "gamma of at most 1, got 1.5"),
        ("vf_coef", float("nan"), ValueError, "vf_coef of at least 0, got nan"),
        ("batch_size", None, TypeError, "a whole number as batch_size, got None"),
        ("micro_batch_size", 1.5, TypeError, "a whole number as micro_batch_size, got 1.5"),
        ("kl_horizon", 0.0, ValueError, "kl_horizon above 0, got 0"),
    ],
)
def test_numbers_out_of_range_cost_no_rollout(
    name: str, value: Any, error: type[Exception], words: str, make_reinforce: Any
) -> None:
    with pytest.raises(error, match=f"expected {words}"):
        make_reinforce(**{name: value})


def test_a_subclass_may_have_facts_of_its_own(make_reinforce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REINFORCE, "facts", AgentFacts(name="Mine"))
    make_reinforce(gamma=0.9)
    with pytest.raises(ValueError, match="expected kl_coef of at least 0"):
        make_reinforce(kl_coef=-1.0)


def test_loss_by_hand(make_reinforce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values, log_probs, entropy = torch.tensor([[1.0], [2.0]]), torch.tensor([-1.0, -2.0]), torch.tensor([0.1, 0.3])
    returns, advantages = torch.tensor([2.0, 0.0]), torch.tensor([0.5, -1.0])
    sample = EpisodeSamples(None, None, None, None, advantages, returns, None)  # type: ignore[arg-type]
    for baseline, expected in (("mean", -0.85), ("learned", -0.6)):
        agent = make_reinforce(baseline, ent_coef=0.5, vf_coef=0.1)
        monkeypatch.setattr(agent.policy, "evaluate_actions", lambda *_: (values, log_probs, entropy))
        loss, statistics = agent.loss(sample, advantages)
        # -(-1 * 0.5 + -2 * -1) / 2 = -0.75; entropy 0.5 * 0.2; values 0.1 * (1 + 4) / 2
        assert float(statistics["policy_loss"]) == pytest.approx(-0.75)
        assert float(loss) == pytest.approx(expected)


def test_baselines_by_hand(make_reinforce: Any) -> None:
    returns = torch.tensor([1.0, 2.0, 6.0])
    assert make_reinforce("none").scaled_advantages(returns).tolist() == [1.0, 2.0, 6.0]
    assert make_reinforce("mean").scaled_advantages(returns).tolist() == [-2.0, -1.0, 3.0]


def test_a_rollout_is_as_many_whole_texts_as_were_wanted(make_reinforce: Any) -> None:
    """Each environment writes its share from a new prompt; a return is the sum of rewards up to the end of the text."""
    agent = make_reinforce("none", kl_coef=0.3)
    for _ in range(3):
        agent.learn(1, reset_num_timesteps=False)
        buffer = agent.rollout_buffer
        segments = buffer.segments()
        assert sorted(segment.env for segment in segments) == [0, 0, 1, 1, 2, 2, 3, 3]
        assert {(segment.stop - 1, segment.env) for segment in segments} == {text[:2] for text in agent.finished}
        for segment in segments:
            assert len(segment.prefix) == segment.prompt_length
            rewards = buffer.rewards[segment.start : segment.stop, segment.env]
            returns = buffer.advantages[segment.start : segment.stop, segment.env]
            np.testing.assert_allclose(returns, np.cumsum(rewards[::-1])[::-1], atol=1e-5)
        assert buffer.counted.sum() == sum(segment.stop - segment.start for segment in segments) < buffer.counted.size
        assert agent.history[-1]["texts"] == 8.0
        assert agent.history[-1]["length"] == buffer.counted.sum() / 8


def test_the_rollout_that_a_buffer_grew_for_is_scored_as_the_bare_model_does(
    make_reinforce: Any, oracle_of: Any
) -> None:
    agent = make_reinforce("none", n_steps=1)
    agent.learn(1)
    agent.learn(1, reset_num_timesteps=False)
    agent._setup_learn(1, None)
    agent.collect_rollouts(agent.env, agent._init_callback(None), agent.rollout_buffer, agent.n_steps)
    oracle, buffer = oracle_of(agent.policy), agent.rollout_buffer
    assert len(buffer.actions) > 4
    with torch.no_grad():
        for segment in buffer.segments():
            text = segment.prefix.tolist()
            for step in range(segment.start, segment.stop):
                action = int(buffer.actions[step, segment.env, 0])
                expected = float(oracle.logits(text).log_softmax(0)[action])
                assert buffer.log_probs[step, segment.env] == pytest.approx(expected, abs=1e-4)
                text.append(action)


def test_micro_batches_change_nothing(make_reinforce: Any) -> None:
    runs = []
    for size in (None, 3):
        agent = make_reinforce("learned", micro_batch_size=size)
        agent.learn(40)
        runs.append([record["loss"] for record in agent.history])
    assert runs[0] == pytest.approx(runs[1], abs=1e-3)


def weights(agent: REINFORCE) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in agent.policy.state_dict().values()]


def test_same_seed_same_run(make_reinforce: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)  # what was drawn before must not matter
        runs.append(make_reinforce(seed=seed))
        runs[-1].learn(60)
    assert all(map(torch.equal, weights(runs[0]), weights(runs[1])))
    assert not all(map(torch.equal, weights(runs[0]), weights(runs[2])))


class SaveAt(BaseCallback):
    """Saves at the start of the ``number``-th rollout."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__()
        self.folder, self.number = folder, number

    def _on_rollout_start(self) -> None:
        self.number -= 1
        if self.number == 0:
            self.model.save(self.folder)
            self.num_timesteps_then = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("baseline", ["mean", "learned"])
def test_resume_goes_on_bit_for_bit(baseline: str, make_reinforce: Any, tmp_path: Path) -> None:
    run, saved = make_reinforce(baseline, kl_target=0.1, kl_horizon=20.0), SaveAt(tmp_path / "saved", 3)
    run.learn(120, callback=saved)
    assert len(run.history) > 3
    again = REINFORCE.load(tmp_path / "saved", env=make_reinforce(baseline, seed=77).env)
    assert len(again.history) == 2
    again.learn(120 - again.num_timesteps, reset_num_timesteps=False)
    assert all(map(torch.equal, weights(run), weights(again)))
    for ours, theirs in zip(run.history, again.history, strict=True):
        assert {**ours, "tokens_per_second": 0} == {**theirs, "tokens_per_second": 0}


def test_settings_out_of_range_are_refused(make_reinforce: Any) -> None:
    with pytest.raises(ValueError, match="expected baseline 'none', 'mean' or 'learned', got 'median'"):
        make_reinforce("median")
    with pytest.raises(ValueError, match="expected rollout_texts to be a multiple of the 4 environments, got 6"):
        make_reinforce(rollout_texts=6)
