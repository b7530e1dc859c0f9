"""DQN: solves a small spelling task, repeats itself, and goes on bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.dqn import DQN
from textgym.agents.reinforce import REINFORCE
from textgym.errors import CheckpointError


@pytest.fixture
def make_dqn(make_env: Any, make_network: Any, length_reward: Any) -> Any:
    """``make_dqn(seed=1, **options)``: four environments, updates after five tokens in each."""

    def make(seed: int = 1, env: Any = None, **options: Any) -> DQN:
        settings = {"train_freq": 5, "learning_starts": 30, "batch_size": 16, "gradient_steps": 2, "buffer_size": 90}
        settings |= {"target_update_interval": 24, "learning_rate": 1e-2, **options}
        made = env or make_env(4, reward=length_reward)
        return DQN.create(made, make_network(), seed=seed, device="cpu", **settings)

    return make


def weights(agent: DQN) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in agent.policy.state_dict().values()]


def test_it_is_the_algorithm_of_stable_baselines3() -> None:
    """What acts, stores and updates is not written again here."""
    theirs = stable_baselines3.DQN
    for name in ("collect_rollouts", "_sample_action", "_store_transition", "predict", "_on_step"):
        assert getattr(DQN, name) is getattr(theirs, name)


def test_it_spells_a_word_and_knows_what_it_is_worth() -> None:
    env = make_vec_env("TextSpell-v0", 8, 0, data=["ab"], density="dense")
    options: dict[str, Any] = {"learning_starts": 64, "target_update_interval": 16, "gradient_steps": 4}
    agent = DQN.create(env, seed=0, device="cpu", gamma=0.9, learning_rate=5e-3, train_freq=4, **options)
    agent.learn(640)
    single: Any = gym.make("TextSpell-v0", data=["ab"], density="dense")
    optimal = single.unwrapped.optimal_values(gamma=0.9)
    observed, _ = single.reset()
    key, text = single.unwrapped.task.dataset[0].key, ""
    for _ in range(2):
        (token,) = agent.act({name: array[None] for name, array in observed.items()}, greedy=True).tolist()
        with torch.no_grad():
            shown = {name: torch.as_tensor(array)[None] for name, array in observed.items()}
            value = float(agent.policy.q_values(shown).max())
        assert value == pytest.approx(optimal[key, text], abs=0.15)
        text += single.unwrapped.tokenizer.decode([token])
        observed, reward, *_ = single.step(np.int64(token))
    assert (text, reward) == ("ab", 0.5)


def test_same_seed_same_run(make_dqn: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)  # what was drawn before must not matter
        np.random.seed(99)
        runs.append(make_dqn(seed))
        runs[-1].learn(100)
    assert all(map(torch.equal, weights(runs[0]), weights(runs[1])))
    assert not all(map(torch.equal, weights(runs[0]), weights(runs[2])))


class SaveAt(BaseCallback):
    """Saves at the start of a rollout, in its middle, or in the update after it."""

    def __init__(self, folder: Path, number: int, moment: str) -> None:
        super().__init__()
        self.folder, self.number, self.moment = folder, number, moment

    def save(self, moment: str) -> None:
        if self.number == 0 and moment == self.moment:
            self.model.save(self.folder)

    def _on_rollout_start(self) -> None:
        self.number -= 1
        self.save("start")

    def _on_step(self) -> bool:
        if self.n_calls % 5 == 4:
            self.save("middle")
        return True

    def _on_rollout_end(self) -> None:
        if self.number == 0:
            self.model.remember_weights()  # type: ignore[attr-defined]
        self.save("end")


@pytest.mark.parametrize("moment", ["start", "middle", "end"])
@pytest.mark.parametrize("number", [1, 4])
def test_resume_goes_on_bit_for_bit_with_its_replay(moment: str, number: int, make_dqn: Any, tmp_path: Path) -> None:
    """From every moment of an iteration: what is saved is the state at its beginning, replay and target included."""
    run = make_dqn()
    run.learn(160, callback=SaveAt(tmp_path / "saved", number, moment))
    again = DQN.load(tmp_path / "saved", env=make_dqn(seed=77).env, device="cpu")
    assert (again.num_timesteps, len(again.history)) == (20 * (number - 1), number - 1)
    again.learn(160 - again.num_timesteps, reset_num_timesteps=False)
    assert all(map(torch.equal, weights(run), weights(again)))
    for ours, theirs in zip(run.history, again.history, strict=True):
        assert {**ours, "tokens_per_second": 0} == {**theirs, "tokens_per_second": 0}


def test_records(make_dqn: Any) -> None:
    agent = make_dqn(learning_starts=50)
    agent.learn(100)
    assert [record["timesteps"] for record in agent.history] == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert [("loss" in record) for record in agent.history] == [False, False, True, True, True]
    assert [record["replayed_from"] for record in agent.history] == [20.0, 40.0, 60.0, 80.0, 100.0]  # 90 and a rollout
    assert agent.history[-1]["exploration_rate"] == pytest.approx(0.05)
    assert agent.seconds.keys() == {"rollout", "update"}
    assert all(1.0 <= record["length"] <= 8.0 for record in agent.history if "length" in record)


def test_lora_and_softmax_exploration(make_env: Any, model_folder: Path, length_reward: Any) -> None:
    pytest.importorskip("peft")
    env = make_env(4, model=str(model_folder), reward=length_reward)
    options: dict[str, Any] = {"lora_rank": 2, "temperature": 0.1, "train_freq": 5, "learning_starts": 10}
    agent = DQN.create(env, str(model_folder), seed=0, device="cpu", gradient_steps=1, batch_size=8, **options)
    frozen = {name: each.clone() for name, each in agent.policy.q_net.named_parameters() if not each.requires_grad}
    agent.learn(60)
    assert frozen
    assert all(
        torch.equal(each, frozen[name]) for name, each in agent.policy.q_net.named_parameters() if name in frozen
    )


def test_mistakes(make_env: Any, make_dqn: Any, make_network: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="expected the policy 'TextQPolicy', or a class derived from it, got 'MlpPolicy'"
    ):
        DQN("MlpPolicy", make_env(2))
    with pytest.raises(ValueError, match="expected batch_size of at least 1, got 0"):
        make_dqn(batch_size=0)
    with pytest.raises(ValueError, match=r"expected gamma of at most 1, got 1\.5"):
        make_dqn(gamma=1.5)
    with pytest.raises(TypeError, match=r"an option of the policy: give policy_kwargs=\{'prior_scale': \.\.\.\}"):
        DQN("TextQPolicy", make_env(2), prior_scale=0.1)
    agent = make_dqn()
    agent.learn(20)
    agent.save(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of textgym\.REINFORCE"):
        REINFORCE.load(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="expected 4 environments, got 3"):
        DQN.load(tmp_path / "saved", env=make_env(3), device="cpu")
    alone = DQN.load(tmp_path / "saved", device="cpu")
    observed = agent.env.reset()
    assert alone.act(observed, greedy=True).tolist() == agent.act(observed, greedy=True).tolist()
