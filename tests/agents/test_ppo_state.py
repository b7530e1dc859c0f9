from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.ppo import PPO
from textgym.errors import CheckpointError, ModelError
from textgym.models.causal_lm import CausalLM
from textgym.models.checkpoint import load_newest, read_checkpoint


def state(agent: PPO) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}


def same_history(left: PPO, right: PPO) -> bool:
    drop = "tokens_per_second"
    return [{k: v for k, v in row.items() if k != drop} for row in left.history] == [
        {k: v for k, v in row.items() if k != drop} for row in right.history
    ]


def assert_same_run(left: PPO, right: PPO) -> None:
    ours, theirs = state(left), state(right)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert same_history(left, right)
    assert left.kl_coef == right.kl_coef
    assert left.num_timesteps == right.num_timesteps
    assert left._n_updates == right._n_updates
    optimizers = left.policy.optimizer.state_dict(), right.policy.optimizer.state_dict()
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
    assert optimizers[0]["state"].keys() == optimizers[1]["state"].keys()
    for index, values in optimizers[0]["state"].items():
        assert all(torch.equal(values[name], optimizers[1]["state"][index][name]) for name in values)


def test_seeds(make_agent: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(99)  # what was drawn before must not matter
        runs.append(make_agent(seed=seed))
        runs[-1].learn(4 * 11 * 2)
    assert_same_run(runs[0], runs[1])
    assert not all(torch.equal(a, b) for a, b in zip(state(runs[0]).values(), state(runs[2]).values(), strict=True))


class SaveAt(BaseCallback):
    """Saves at the start of the rollout after ``steps`` steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == self.steps:
            self.model.save(self.folder)

    def _on_step(self) -> bool:
        return True


RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "detached": ({}, {}),
    "shared": ({"critic": "shared"}, {}),
    "separate": ({"critic": "separate", "temperature": 0.7}, {"kl_target": 0.05, "kl_horizon": 50.0}),
    "lora": ({"lora_rank": 2}, {"scale_rewards": True, "micro_batch_size": 7, "recompute_log_probs": True}),
    "schedules": (
        {"gradient_checkpointing": True},
        {
            "clip_range": LinearSchedule(0.3, 0.1, 0.5),
            "clip_range_vf": None,
            "learning_rate": LinearSchedule(1e-2, 1e-3, 0.8),
            "missing_eos_penalty": 0.5,
            "ent_coef": 0.01,
        },
    ),
    "carry": ({"critic": "separate"}, {"unfinished_texts": "carry", "kl_target": 0.05}),
    "constant": ({"precision": "bf16"}, {"learning_rate": lambda _: 5e-3, "clip_range": lambda _: 0.15, "n_epochs": 1}),
}


@pytest.mark.parametrize(("policy", "options"), RUNS.values(), ids=RUNS.keys())
def test_resume_goes_on_bit_for_bit(
    policy: dict[str, Any], options: dict[str, Any], make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path
) -> None:
    arguments = {"learning_rate": 1e-2, **options}
    run = make_agent(policy, **arguments)
    run.learn(4 * 11 * 4, callback=SaveAt(tmp_path / "checkpoint", 4 * 11 * 2))
    torch.manual_seed(123)
    np.random.seed(123)
    again = PPO.load(tmp_path / "checkpoint", env=make_env(4, seed=77, reward=length_reward))
    assert again.num_timesteps == 4 * 11 * 2
    assert not again._last_episode_starts.all()  # in the middle of texts
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    assert_same_run(run, again)
    assert run.kl_coef != 0.05 or "kl_target" not in options


def test_resume_with_normalized_rewards(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    def env(seed: int = 0) -> VecNormalize:
        return VecNormalize(make_env(4, seed=seed, reward=length_reward), norm_obs=False, gamma=0.9)

    run = make_agent(learning_rate=1e-2)
    run.set_env(env())
    run.learn(4 * 11 * 4, callback=SaveAt(tmp_path / "checkpoint", 4 * 11 * 2))
    again = PPO.load(tmp_path / "checkpoint", env=env(77))
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    assert_same_run(run, again)
    assert isinstance(run.env, VecNormalize)
    assert isinstance(again.env, VecNormalize)
    assert vars(run.env.ret_rms) == vars(again.env.ret_rms)
    with pytest.raises(
        CheckpointError, match="with 1 VecNormalize around it, as it was saved, got 0; wrap it as before"
    ):
        PPO.load(tmp_path / "checkpoint", env=make_env(4, reward=length_reward))


def test_resume_before_the_first_text_ends(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    """The value head starts at the mean score of the first texts, whenever these end, and once."""
    # Texts of 8 tokens, rollouts of 5 steps: one text of every environment ends in the second and in the fourth.
    settings = {"policy": {"suppress_tokens": (1,)}, "n_steps": 5, "learning_rate": 1e-2}
    run = make_agent(**settings)
    run.learn(4 * 5 * 4, callback=SaveAt(tmp_path / "0", 4 * 5))
    assert [record["texts"] for record in run.history] == [0.0, 4.0, 0.0, 4.0]
    again = PPO.load(tmp_path / "0", env=make_env(4, reward=length_reward))
    assert not again._values_are_centered
    again.learn(4 * 5 * 3, reset_num_timesteps=False, callback=SaveAt(tmp_path / "1", 4 * 5 * 2))
    third = PPO.load(tmp_path / "1", env=make_env(4, reward=length_reward))
    assert third._values_are_centered
    third.learn(4 * 5 * 2, reset_num_timesteps=False)
    assert_same_run(run, again)
    assert_same_run(run, third)


def test_numpy_settings_and_paths(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    options = {"n_steps": np.int64(11), "kl_coef": np.float32(0.1), "kl_target": np.float32(0.05)}
    run = make_agent({"temperature": np.float32(0.7)}, **options, tensorboard_log=tmp_path / "logs")
    run.learn(4 * 11 * 3, callback=SaveAt(tmp_path / "checkpoint", 4 * 11))
    again = PPO.load(tmp_path / "checkpoint", env=make_env(4, reward=length_reward))
    assert again.tensorboard_log is None  # a path in a checkpoint is not written to
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    assert_same_run(run, again)


def test_resume_twice(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    run = make_agent(learning_rate=1e-2)
    run.learn(4 * 11 * 4, callback=SaveAt(tmp_path / "a", 4 * 11))
    second = PPO.load(tmp_path / "a", env=make_env(4, reward=length_reward))
    second.learn(4 * 11 * 3, reset_num_timesteps=False, callback=SaveAt(tmp_path / "b", 4 * 11 * 3))
    third = PPO.load(tmp_path / "b", env=make_env(4, reward=length_reward))
    third.learn(4 * 11, reset_num_timesteps=False)
    assert_same_run(run, second)
    assert_same_run(run, third)


def test_another_optimizer(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    adam = {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"betas": (0.5, 0.9)}}
    run = make_agent(adam, learning_rate=1e-2)
    run.learn(4 * 11 * 2, callback=SaveAt(tmp_path / "checkpoint", 4 * 11))
    with pytest.raises(CheckpointError, match="expected optimizer Adam, got AdamW; pass the policy_kwargs"):
        PPO.load(tmp_path / "checkpoint", env=make_env(4, reward=length_reward))
    again = PPO.load(tmp_path / "checkpoint", env=make_env(4, reward=length_reward), policy_kwargs=adam)
    again.learn(4 * 11, reset_num_timesteps=False)
    assert_same_run(run, again)


def test_curved_schedules_are_given_again(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    def curved(progress: float) -> float:
        return 1e-2 * progress**2

    run = make_agent(learning_rate=curved)
    run.learn(4 * 11 * 2, callback=SaveAt(tmp_path / "checkpoint", 4 * 11))
    with pytest.raises(CheckpointError, match="pass learning_rate="):
        PPO.load(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint", env=make_env(4, reward=length_reward), learning_rate=curved)
    again.learn(4 * 11, reset_num_timesteps=False)
    assert_same_run(run, again)


def test_load_without_an_environment(make_agent: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    agent = make_agent()
    agent.learn(4 * 11)
    agent.save(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint")
    obs = make_env(3).reset()
    assert again.predict(obs, deterministic=True)[0].tolist() == agent.predict(obs, deterministic=True)[0].tolist()
    again.set_env(make_env(4, reward=length_reward))
    again.learn(4 * 11, reset_num_timesteps=False)
    assert again.num_timesteps == 4 * 11 * 2


def test_load_with_another_environment(make_agent: Any, make_env: Any, foreign_folder: Path, tmp_path: Path) -> None:
    agent = make_agent()
    agent.save(tmp_path / "new")
    agent.learn(4 * 11)
    agent.save(tmp_path / "checkpoint")
    for folder in (tmp_path / "new", tmp_path / "checkpoint"):
        for other in ({"model": str(foreign_folder)}, {"max_new_tokens": 5}):
            with pytest.raises(CheckpointError, match="expected an environment like that of the checkpoint"):
                PPO.load(folder, env=make_env(4, **other))
    with pytest.raises(CheckpointError, match="expected 4 environments, got 3"):
        PPO.load(tmp_path / "checkpoint", env=make_env(3))


def test_saving_with_an_environment_that_has_no_state(
    env_ids: tuple[str, str], tokenizer_folder: Path, make_network: Any, tmp_path: Path
) -> None:
    """The weights of a long run must not be lost because its environment cannot be stored."""

    def single() -> gym.Env[Any, Any]:
        return gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=5)

    agent = PPO(CausalLMPolicy, DummyVecEnv([single] * 2), n_steps=6, policy_kwargs={"model": make_network()})
    agent.learn(12)
    with pytest.warns(UserWarning, match="begins with new texts"):
        agent.save(tmp_path / "checkpoint")
    again = PPO.load(tmp_path / "checkpoint", env=DummyVecEnv([single] * 2))
    again.learn(12, reset_num_timesteps=False)
    assert again.num_timesteps == 24


def test_partial_checkpoints_are_refused(make_agent: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="complete checkpoint"):
        make_agent().save(tmp_path / "checkpoint", exclude=["policy"])


@pytest.fixture
def checkpoints(make_agent: Any, tmp_path: Path) -> Path:
    """Two checkpoints of one run."""
    agent = make_agent()
    for name in ("0001", "0002"):
        agent.learn(4 * 11, reset_num_timesteps=False)
        agent.save(tmp_path / "checkpoints" / name)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("damage", ["truncated", "missing", "flipped", "kind"])
def test_damaged_checkpoints(damage: str, checkpoints: Path, make_policy: Any) -> None:
    newest = checkpoints / "0002"
    tensors = newest / "tensors.safetensors"
    content = tensors.read_bytes()
    if damage == "truncated":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "missing":
        (newest / "model" / "config.json").unlink()
    elif damage == "flipped":
        tensors.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    else:
        shutil.rmtree(newest)
        make_policy().save(newest)
    with pytest.raises(CheckpointError):
        PPO.load(newest)
    if damage != "kind":
        _, found, problems = load_newest(checkpoints, lambda path: read_checkpoint(path, "textgym.PPO"))
        assert found == checkpoints / "0001"
        assert len(problems) == 1
        assert PPO.load(found).num_timesteps == 4 * 11


class RememberWeights(BaseCallback):
    """Saves at the start of rollouts, and lets the weights be remembered before updates."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _on_rollout_start(self) -> None:
        self.model.save(self.folder)

    def _on_rollout_end(self) -> None:
        self.model.remember_weights()  # type: ignore[attr-defined]

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("policy", [{}, {"lora_rank": 2}, {"critic": "separate"}], ids=str)
def test_the_state_before_an_update_that_failed(
    policy: dict[str, Any], make_agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_step(number: int) -> None:
        step, left = agent.policy.optimizer.step, [number]

        def fails() -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise ZeroDivisionError
            return step()

        with monkeypatch.context() as patch:
            patch.setattr(agent.policy.optimizer, "step", fails)
            with pytest.raises(ZeroDivisionError):
                agent.learn(4 * 11, reset_num_timesteps=False, callback=RememberWeights(tmp_path / "before"))

    agent = make_agent(policy)
    agent.learn(4 * 11)
    fail_at_step(3)  # two steps are made
    agent.save(tmp_path / "copied")
    assert_same_checkpoint(tmp_path / "copied", tmp_path / "before")
    monkeypatch.setattr("textgym.agents.common.snapshot._LARGEST_COPY", 0)
    fail_at_step(1)
    agent.save(tmp_path / "unchanged")
    assert_same_checkpoint(tmp_path / "unchanged", tmp_path / "before")
    fail_at_step(2)
    with pytest.raises(CheckpointError, match="an update had begun to change the weights"):
        agent.save(tmp_path / "after")


def assert_same_checkpoint(left: Path, right: Path) -> None:
    (tensors, record), (again, same) = (read_checkpoint(folder, "textgym.PPO") for folder in (left, right))
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], tensors[key]) for key in tensors)
    assert same == record


def test_the_state_in_a_rollout_that_failed_is_that_of_its_beginning(make_agent: Any, tmp_path: Path) -> None:
    class Fails(RememberWeights):
        def _on_step(self) -> bool:
            if self.model.num_timesteps == 4 * (11 + 5):
                raise ZeroDivisionError
            return True

    whole = make_agent(learning_rate=1e-2)
    whole.learn(4 * 11 * 2)
    run = make_agent(learning_rate=1e-2)
    with pytest.raises(ZeroDivisionError):
        run.learn(4 * 11 * 2, callback=Fails(tmp_path / "before"))
    state = run.get_state()
    run.save(tmp_path / "saved")
    assert_same_checkpoint(tmp_path / "saved", tmp_path / "before")
    again = make_agent(learning_rate=1e-2)
    again.learn(4 * 11)  # another past, which does not matter
    again.set_state(state)
    again.learn(4 * 11, reset_num_timesteps=False)
    assert_same_run(whole, again)


def test_there_is_no_state_within_an_update(make_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, other = make_agent(), make_agent()
    monkeypatch.setattr(agent.policy.optimizer, "step", agent.get_state)
    with pytest.raises(CheckpointError, match="expected an agent between updates, got one within"):
        agent.learn(4 * 11)
    state = other.get_state()
    with pytest.raises(CheckpointError, match=r"expected the state of textgym\.PPO, got one of 'textgym\.SFT'"):
        agent.set_state(state._replace(record={**state.record, "kind": "textgym.SFT"}))


def test_a_crash_while_saving_leaves_the_old_checkpoint(
    checkpoints: Path, make_agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent()
    agent.learn(4 * 11 * 3)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textgym.models.checkpoint._digest", crash)
    with pytest.raises(KeyboardInterrupt):
        agent.save(checkpoints / "0002")
    monkeypatch.undo()
    assert PPO.load(checkpoints / "0002").num_timesteps == 4 * 11 * 2


def test_another_reference_is_kept_by_a_checkpoint(make_agent: Any, make_network: Any, tmp_path: Path) -> None:
    agent = make_agent()
    agent.set_reference(CausalLM(make_network(seed=1)))
    agent.learn(4 * 11)
    assert abs(agent.history[0]["kl"]) > 1e-3  # the policy is still the one it started from
    agent.save(tmp_path / "saved")
    loaded = PPO.load(tmp_path / "saved", env=agent.env)
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        expected = make_network(seed=1).base_model(input_ids=ids)[0]
        torch.testing.assert_close(loaded.reference.network.token_states(ids), expected, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match="of the policy's architecture"):
        agent.set_reference(CausalLM(make_network("llama")))
    with pytest.raises(ModelError, match="got adapters"):
        make_agent({"lora_rank": 2}).set_reference(CausalLM(make_network()))


def test_a_reward_model_that_loads_when_it_first_scores_changes_no_resume(make_agent: Any, tmp_path: Path) -> None:
    whole = make_agent(env={"reward": "learned"})
    whole.learn(4 * 11)
    whole.save(tmp_path / "agent")
    whole.learn(4 * 11, reset_num_timesteps=False)
    other = make_agent(env={"reward": "learned"})  # its own environment has scored nothing yet
    again = PPO.load(tmp_path / "agent", env=other.env)
    again.learn(4 * 11, reset_num_timesteps=False)
    left, right = whole.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
