"""Agents in conversations: what is said to them is read, and never scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.callbacks import BaseCallback

import textgym
from tests.envs.guessing import NUMBERS, Guessing, MaskedGuessing, write_tokenizer
from textgym.agents import DPO, PPO, ExpertIteration, make_vec_env
from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.reinforce import REINFORCE
from textgym.errors import DataError
from textgym.models.causal_lm import CausalLM
from textgym.text.tokenizer import Tokenizer

GUESSING, _ = textgym.register_task("TestGuessing", Guessing)
MASKED, _ = textgym.register_task("TestMaskedGuessing", MaskedGuessing)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tokenizer(tmp_path_factory.mktemp("words")))


class Returns(BaseCallback):
    """Collects the return and the success of every episode."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


@pytest.mark.slow
@pytest.mark.parametrize("buffer", [None, EpisodeRolloutBuffer])
def test_stock_ppo_learns_to_guess(buffer: Any, folder: str, make_network: Any) -> None:
    """A random network says few numbers; a trained one says more of them, and finds some of the right ones."""
    envs = make_vec_env(GUESSING, n_envs=16, seed=0, model=folder)
    agent = stable_baselines3.PPO(
        CausalLMPolicy,
        envs,
        n_steps=12,
        batch_size=96,
        n_epochs=2,
        learning_rate=1e-2,
        gamma=1.0,
        seed=0,
        rollout_buffer_class=buffer,
        policy_kwargs={"model": make_network(rows=24, scale=1.0)},
    )
    recorder = Returns()
    agent.learn(16 * 12 * 10, callback=recorder)
    count = len(recorder.returns) // 4
    before, after = np.mean(recorder.returns[:count]), np.mean(recorder.returns[-count:])
    assert before < 0.15
    assert after > before + 0.15


def test_what_is_said_is_no_action(folder: str, make_network: Any) -> None:
    """One segment per turn: its prefix ends with what was said, and all transitions are tokens of the agent."""
    envs = make_vec_env(GUESSING, n_envs=4, seed=0, model=folder)
    policy = {"model": make_network(rows=24)}
    agent = PPO(CausalLMPolicy, envs, n_steps=12, batch_size=48, n_epochs=1, seed=0, policy_kwargs=policy)
    assert agent.steps_per_iteration == 4 * 12
    agent.learn(4 * 12)
    buffer: Any = agent.rollout_buffer
    segments = buffer.segments()
    assert sum(segment.stop - segment.start for segment in segments) == buffer.actions.size == 48
    assert all(segment.stop - segment.start <= 2 for segment in segments)  # the budget of a turn
    cue = Tokenizer.load(folder).encode("Assistant:")
    assert all(segment.prefix[-2:].tolist() == cue for segment in segments)
    assert agent.history[0]["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert agent.history[0]["kl"] == pytest.approx(0, abs=1e-5)


def test_a_run_goes_on_exactly_from_within_conversations(folder: str, make_network: Any, tmp_path: Path) -> None:
    def make(seed: int) -> Any:
        return make_vec_env(GUESSING, n_envs=3, seed=seed, model=folder)

    policy = {"model": make_network(rows=24)}
    agent = PPO(CausalLMPolicy, make(0), n_steps=7, batch_size=24, n_epochs=1, seed=0, policy_kwargs=policy)
    agent.learn(3 * 7)
    agent.save(tmp_path / "run")
    agent.learn(3 * 7 * 2, reset_num_timesteps=False)
    again = PPO.load(tmp_path / "run", env=make(9))
    again.learn(3 * 7 * 2, reset_num_timesteps=False)
    keys = [key for key in agent.history[-1] if not key.startswith(("time", "seconds", "tokens_per"))]
    assert {key: again.history[-1][key] for key in keys} == pytest.approx(
        {key: agent.history[-1][key] for key in keys}, abs=0, nan_ok=True
    )
    np.testing.assert_array_equal(again.rollout_buffer.actions, agent.rollout_buffer.actions)


def test_masks_of_copies_reach_algorithms(folder: str) -> None:
    envs = make_vec_env(MASKED, n_envs=3, seed=0, model=folder)
    envs.reset()
    masks = np.stack(envs.env_method("action_masks"))  # as algorithms with masks ask
    assert masks.shape == (3, Tokenizer.load(folder).vocab_size)
    numbers = [Tokenizer.load(folder).encode(number)[0] for number in NUMBERS]
    assert all(set(np.flatnonzero(row)) <= set(numbers) for row in masks)
    assert np.stack(envs.env_method("action_masks", indices=[1])).tolist() == masks[1:2].tolist()


def test_steps_per_iteration_of_whole_conversations(folder: str, make_network: Any) -> None:
    envs = make_vec_env(GUESSING, n_envs=4, seed=0, model=folder)
    agent = REINFORCE(CausalLMPolicy, envs, rollout_texts=8, seed=0, policy_kwargs={"model": make_network(rows=24)})
    assert agent.steps_per_iteration == 8 * envs.get_attr("task")[0].max_turns * 2  # tokens of a turn
    agent.learn(1)
    assert 8 < agent.num_timesteps <= agent.steps_per_iteration


@pytest.mark.slow
def test_expert_iteration_imitates_every_turn_of_the_best_conversations(folder: str, make_network: Any) -> None:
    model = CausalLM(make_network(rows=24, scale=1.0), folder)
    model.restrict_vocabulary(model.tokenizer.vocab_size)
    env = make_vec_env(GUESSING, n_envs=1, seed=0, model=folder)
    options = {"n": 8, "prompts": 8, "n_epochs": 2, "learning_rate": 1e-2, "batch_size": 32}
    agent = ExpertIteration.create(env, model, device="cpu", **options)
    agent.learn(agent.steps_per_iteration * 12)
    returns = [record["reward/turns"] for record in agent.history]  # there is no reward at the end
    assert np.mean(returns[-3:]) > np.mean(returns[:3]) + 0.15


def test_turns_without_a_reward_of_their_own_teach_no_preferences(folder: str, make_network: Any) -> None:
    model = CausalLM(make_network(rows=24), folder)
    model.restrict_vocabulary(model.tokenizer.vocab_size)
    env = make_vec_env(GUESSING, n_envs=1, seed=0, model=folder)
    with pytest.raises(DataError, match="records that tell no texts apart"):
        DPO.create(env, model, device="cpu", labels=6)
