"""Expert iteration: the best of several texts is imitated, and the next ones are better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from tests.agents.preference_data import weights
from textgym.agents import make_vec_env
from textgym.agents.expert_iteration import ExpertIteration, best_rows, turns_of
from textgym.errors import CheckpointError, DataError, RewardError
from textgym.evaluation.sampling import Samples
from textgym.models.loading import load_language_model


def spelling(**kwargs: Any) -> Any:
    return make_vec_env("TextSpell-v0", n_envs=1, seed=0, difficulty="easy", **kwargs)


def make(env: Any = None, **options: Any) -> ExpertIteration:
    settings = {"n": 8, "prompts": 8, "learning_rate": 5e-3, **options}
    return ExpertIteration.create(spelling() if env is None else env, "letters", device="cpu", **settings)


def test_words_are_spelled_after_a_few_iterations() -> None:
    agent = make(prompts=16, n_epochs=2)
    agent.learn(12 * 16 * 8 * 2)
    assert agent.history[0]["reward"] < 0.6
    assert np.mean([record["reward"] for record in agent.history[-2:]]) > 0.9
    first = agent.history[0]
    assert first["reward_best"] > first["reward"] + 0.2  # what it learns from is better than what it writes
    assert first["kept"] > 0.9
    assert first["texts"] == 128
    assert first["loss"] == np.mean(agent.losses[:2])


def test_the_best_of_each_prompt() -> None:
    rewards = np.array([[0.0, 1.0, 1.0], [0.5, 0.5, 0.5], [3.0, 2.0, 1.0]])
    assert best_rows(rewards) == [1, 6]  # the first of equals; nothing where all are equal


def test_all_turns_of_an_episode_are_imitated() -> None:
    samples = Samples([], [[1], [2], [1, 5, 6]], [[5], [7], [8]], [0, 1, 0])
    assert [tuple(turn) for turn in turns_of(samples, [0])] == [([1], [5]), ([1, 5, 6], [8])]


def test_same_seed_same_weights() -> None:
    first, same, other = make(), make(), make(seed=1)
    for agent in (first, same, other):
        agent.learn(1)
    assert all(map(torch.equal, weights(first), weights(same)))
    assert not all(map(torch.equal, weights(first), weights(other)))


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, begun, again = make(), make(), make()
    whole.learn(200)
    begun.learn(100)
    begun.save(tmp_path / "agent")
    again.set_state(begun.get_state())
    loaded = ExpertIteration.load(tmp_path / "agent", env=spelling(), device="cpu")
    for agent in (again, loaded):
        agent.learn(whole.num_timesteps - agent.num_timesteps, reset_num_timesteps=False)
        assert all(map(torch.equal, weights(agent), weights(whole)))
        assert agent.losses == whole.losses
        timeless = [{**record, "tokens_per_second": 0} for record in agent.history]
        assert timeless == [{**record, "tokens_per_second": 0} for record in whole.history]


def test_equal_rewards_teach_nothing() -> None:
    agent = make(spelling(reward="none"))
    before = weights(agent)
    agent.learn(1)
    assert all(map(torch.equal, before, weights(agent)))
    assert agent.history[0]["kept"] == 0.0
    assert "loss" not in agent.history[0]


class Watcher(BaseCallback):
    """States at the ends of rollouts and updates."""

    def __init__(self, stop: bool = False) -> None:
        super().__init__()
        self.stop, self.seen = stop, list[int]()

    def _on_rollout_start(self) -> None:
        self.seen.append(self.model.get_state().record["num_timesteps"])

    def _on_step(self) -> bool:
        assert self.model.num_timesteps > self.model.get_state().record["num_timesteps"]
        return not self.stop


def test_a_state_is_that_of_the_last_whole_iteration() -> None:
    agent, watcher = make(), Watcher()
    agent.learn(200, watcher)
    assert watcher.seen == [0, *(int(record["timesteps"]) for record in agent.history[:-1])]
    stopped = make()
    before = weights(stopped)
    stopped.learn(200, Watcher(stop=True))
    assert all(map(torch.equal, before, weights(stopped)))
    assert stopped.get_state().record["num_timesteps"] == 0


def broken(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    return [float("nan")] * len(texts)


def test_an_error_of_the_reward_leaves_the_state_as_it_was() -> None:
    agent = make(spelling(reward=broken))
    with pytest.raises(RewardError, match="expected finite numbers"):
        agent.learn(1)
    assert agent.get_state().record["num_timesteps"] == 0


def test_an_update_that_is_broken_off_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make(n_epochs=2)
    steps: list[int] = []

    def interrupted() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(agent, "after_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(1)
    with pytest.raises(CheckpointError, match="got one within"):
        agent.get_state()


def test_without_an_environment_it_acts_and_does_not_learn() -> None:
    agent = ExpertIteration(load_language_model("letters", device="cpu"))
    with pytest.raises(DataError, match="expected an environment to learn in, got none"):
        agent.learn(1)
    assert agent.steps_per_iteration == 32 * 8


def test_steps_of_an_iteration_are_the_most_that_its_texts_can_have() -> None:
    agent = make()
    assert agent.steps_per_iteration == 8 * 8 * 2
    agent.learn(1)
    assert agent.num_timesteps <= agent.steps_per_iteration
    assert agent.seconds_per_step() > 0


def test_numbers_out_of_range_are_errors() -> None:
    for options, words in (({"n": 1}, "n of at least 2, got 1"), ({"temperature": 0.0}, "temperature above 0, got 0")):
        with pytest.raises(ValueError, match=words):
            make(**options)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'promts'\. Did you mean 'prompts'"):
        make(promts=3)
