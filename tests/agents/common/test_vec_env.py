from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecEnvWrapper, VecNormalize

from textgym.agents import CausalLMPolicy
from textgym.agents.common.vec_env import GymVecEnv, get_vec_state, make_vec_env, set_vec_state
from textgym.errors import CheckpointError
from textgym.spaces import TokenSpace


class Impatient(gym.Wrapper[Any, Any, Any, Any]):
    """Ends every episode at once."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, True, info


def test_texts_that_a_limit_cuts_are_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    def single() -> Any:
        return Impatient(gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=5))

    venv = GymVecEnv(SyncVectorEnv([single] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    venv.reset()
    with pytest.raises(ValueError, match=r"cut by a limit of steps: .* use max_new_tokens"):
        venv.step(np.array([70, 70]))
    with pytest.raises(TypeError, match=r"got max_episode_steps=3: .* use max_new_tokens"):
        make_vec_env(env_ids[0], 2, max_episode_steps=3)


def test_policies_that_read_ids_as_numbers_are_warned_of(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    for algorithm, options in ((DQN, {"buffer_size": 10}), (PPO, {"n_steps": 2, "batch_size": 4})):
        venv = make_vec_env(env_ids[0], 2, model=str(tokenizer_folder), max_new_tokens=5)
        with pytest.warns(
            UserWarning, match=r"reads input_ids as numbers .* use textgym\.agents\.CausalLMPolicy"
        ) as said:
            algorithm("MultiInputPolicy", venv, **options)
        assert len(said) == 1


def test_a_language_model_is_not_warned_of() -> None:
    venv = make_vec_env("TextSumm-v0", 2, reward="rouge", max_new_tokens=5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="expected token ids to be looked up")
        PPO(CausalLMPolicy, venv, n_steps=2, batch_size=4)


def make(env_ids: tuple[str, str], folder: Path, n: int = 3, seed: int | None = 0, **kwargs: Any) -> Any:
    return make_vec_env(env_ids[0], n, seed, model=str(folder), max_new_tokens=5, **kwargs)


def plan(steps: int, n: int) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(0).integers(2, 377, (steps, n))
    return np.where(np.random.default_rng(1).random((steps, n)) < 0.2, 1, drawn)


def test_equals_sb3s_own_dummy_vec_env(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    def single() -> Any:
        return gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=5)

    ours, theirs = make(env_ids, tokenizer_folder), DummyVecEnv([single] * 3)
    theirs.seed(0)
    assert data_equivalence(ours.reset(), dict(theirs.reset()))
    assert ours.reset_infos == theirs.reset_infos
    for action in plan(50, 3):
        observations, rewards, dones, infos = ours.step(action)
        expected = theirs.step(action)
        assert data_equivalence(observations, dict(expected[0]))
        assert data_equivalence((rewards, dones), tuple(expected[1:3]))
        assert ours.reset_infos == theirs.reset_infos
        for info, other in zip(infos, expected[3], strict=True):
            episode = info.pop("episode", None)
            assert (episode is not None) == ("text" in info)
            assert data_equivalence(info.pop("terminal_observation", None), other.pop("terminal_observation", None))
            other.setdefault("TimeLimit.truncated", False)
            info.setdefault("TimeLimit.truncated", False)
            assert info == other


def test_monitor_reports_whole_episodes(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = make(env_ids, tokenizer_folder, n=1)
    venv.reset()
    venv.step(np.array([70]))
    _, rewards, dones, infos = venv.step(np.array([1]))
    assert dones.tolist() == [True]
    assert infos[0]["episode"]["l"] == 2
    assert infos[0]["episode"]["r"] == rewards[0] == np.float32(infos[0]["rewards"]["total"])
    assert type(infos[0]["is_success"]) is bool
    assert infos[0]["TimeLimit.truncated"] is False


def test_infos_are_empty_distinct_dicts_between_ends(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = make(env_ids, tokenizer_folder).unwrapped
    venv.reset()
    *_, infos = venv.step(np.array([70, 70, 70]))
    assert infos == [{}, {}, {}]
    assert len({id(info) for info in infos}) == 3


def test_spaces_and_types(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = make(env_ids, tokenizer_folder)
    assert isinstance(venv.action_space, TokenSpace)
    observations = venv.reset()
    assert {key: value.shape for key, value in observations.items()} == {
        "input_ids": (3, 45),
        "attention_mask": (3, 45),
        "prompt_length": (3, 1),
    }
    assert venv.step(np.array([3, 3, 3]))[1].dtype == np.float32
    assert venv.get_attr("tokenizer")[2].vocab_size == venv.action_space.n
    assert venv.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert venv.get_attr("max_new_tokens", indices=1) == [5]
    with pytest.raises(ValueError, match="for all 3 copies"):
        venv.env_method("observation", indices=1)


def test_seeds_and_options_reach_the_copies(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = make(env_ids, tokenizer_folder)
    venv.reset()
    keys = [info["task_key"] for info in venv.reset_infos]
    venv.seed(0)
    venv.reset()
    assert [info["task_key"] for info in venv.reset_infos] == keys
    venv.set_options([{"task_key": "train/5"}, {}, {"task_key": "train/1"}])
    venv.reset()
    named = [info["task_key"] for info in venv.reset_infos]
    assert (named[0], named[2]) == ("train/5", "train/1")
    venv.set_options({"task_key": "train/2"})
    venv.reset()
    assert {info["task_key"] for info in venv.reset_infos} == {"train/2"}


def test_state_goes_on_as_if_never_interrupted(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv, steps = make(env_ids, tokenizer_folder), plan(60, 3)
    venv.reset()
    for action in steps[:17]:
        last = venv.step(action)[0]
    state = get_vec_state(venv)
    twin = make(env_ids, tokenizer_folder, seed=None)
    assert data_equivalence(set_vec_state(twin, state), last)
    for action in steps[17:]:
        left, right = venv.step(action), twin.step(action)
        assert data_equivalence(left[:3], right[:3])
        for info, other in zip(left[3], right[3], strict=True):
            assert info.get("text") == other.get("text")
            assert (info.get("episode") or {"l": 0})["l"] == (other.get("episode") or {"l": 0})["l"]


def test_callable_reward(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = make(env_ids, tokenizer_folder, reward=lambda prompts, responses, examples: [2.5] * len(responses))
    venv.reset()
    _, rewards, _, infos = venv.step(np.array([1, 70, 1]))
    assert rewards.tolist() == [2.5, 0.0, 2.5]
    assert infos[0]["rewards"] == {"custom": 2.5, "total": 2.5}


def test_other_envs_are_refused() -> None:
    with pytest.raises(TypeError, match="make_vec"):
        GymVecEnv(gym.make("CartPole-v1"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymVecEnv(gym.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))


@pytest.mark.parametrize("arguments", [{}, {"model": "tiny", "max_new_tokens": 8}])
def test_whole_texts_are_refused(env_ids: tuple[str, str], arguments: dict[str, Any]) -> None:
    token, episode = env_ids
    with pytest.raises(ValueError, match=rf"token-level .*, got '{episode}', .* use '{token}' here, or gym\.make"):
        make_vec_env(episode, **arguments)


def test_other_mistakes_are_told_as_they_are(env_ids: tuple[str, str]) -> None:
    def broken(**_: Any) -> Any:
        raise TypeError("a mistake of its own")

    gym.register("BrokenEpisode-v0", vector_entry_point=broken)
    try:
        with pytest.raises(TypeError, match="a mistake of its own"):
            make_vec_env("BrokenEpisode-v0")
    finally:
        gym.registry.pop("BrokenEpisode-v0")
    with pytest.raises(TypeError, match="got 'nonsense'"):
        make_vec_env(gym.spec(env_ids[0]), nonsense=2)  # type: ignore[arg-type]


def test_the_sums_of_normalizers_are_part_of_the_state(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    def wrapped() -> VecNormalize:
        inner = VecCheckNan(VecNormalize(make(env_ids, tokenizer_folder), norm_obs=False, gamma=0.5))
        return VecNormalize(inner, norm_obs=False)

    venv, twin, steps = wrapped(), wrapped(), plan(40, 3)
    venv.reset()
    for action in steps[:20]:
        venv.step(action)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = get_vec_state(venv)
    assert [sums["wrapper"] for sums in state["wrappers"]] == ["VecNormalize", "VecNormalize", "VecMonitor"]
    set_vec_state(twin, state)
    for action in steps[20:]:
        assert venv.step(action)[1].tolist() == twin.step(action)[1].tolist()
    with pytest.raises(CheckpointError, match="2 VecNormalize around it, as it was saved, got 0"):
        set_vec_state(make(env_ids, tokenizer_folder), state)


class Counting(VecEnvWrapper):
    """A wrapper with a state that nobody knows about."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


def test_wrappers_of_unknown_kinds_are_named(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    venv = Counting(make(env_ids, tokenizer_folder))
    venv.reset()
    with pytest.warns(UserWarning, match="the state of Counting is not saved"):
        state = get_vec_state(venv)
    assert set_vec_state(make(env_ids, tokenizer_folder), state) is not None
    native = gym.make_vec(env_ids[0], num_envs=2, model=str(tokenizer_folder))
    venv = GymVecEnv(gym.wrappers.vector.NormalizeReward(native))
    venv.reset()
    with pytest.warns(UserWarning, match="the state of NormalizeReward"):
        get_vec_state(venv)


def test_other_vec_envs_keep_their_wrappers_only() -> None:
    def wrapped() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]), norm_obs=False)

    venv, twin = wrapped(), wrapped()
    venv.reset()
    venv.step(np.array([0]))
    with pytest.warns(UserWarning, match=r"begins with new texts: expected .*make_vec_env, got DummyVecEnv"):
        state = get_vec_state(venv)
    assert set_vec_state(twin, state) is None
    assert (twin.ret_rms.mean, twin.ret_rms.count) == (venv.ret_rms.mean, venv.ret_rms.count) == (1 / 1.0001, 1.0001)
