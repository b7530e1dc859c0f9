from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv


def make(env_ids: tuple[str, str], folder: Path, n: int = 4, **kwargs: Any) -> Any:
    return gym.make_vec(env_ids[0], num_envs=n, model=str(folder), max_new_tokens=5, **kwargs)


def actions(steps: int, n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng(seed).integers(2, 377, (steps, n))
    return np.where(np.random.default_rng(seed + 1).random((steps, n)) < 0.2, 1, drawn)


def test_native_equals_gymnasiums_sync_vector_env(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    def single() -> Any:
        return gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=5, stop=("e",))

    native = make(env_ids, tokenizer_folder, stop=("e",))
    sync = SyncVectorEnv([single] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    seeds: Any = [3, 4, 3, 9]
    assert data_equivalence(native.reset(seed=seeds), sync.reset(seed=seeds))
    for action in actions(60, 4):
        left, right = native.step(action), sync.step(action)
        assert data_equivalence(left[:4], right[:4])
        assert set(left[4]) == set(right[4])
        assert list(left[4].get("task_key", [])) == list(right[4].get("task_key", []))
        for row in np.flatnonzero(left[2]):
            assert data_equivalence(left[4]["final_obs"][row], right[4]["final_obs"][row])
            assert left[4]["final_info"]["text"][row] == right[4]["final_info"]["text"][row]
            assert left[4]["final_info"]["rewards"]["total"][row] == right[4]["final_info"]["rewards"]["total"][row]


def test_equal_seeds_give_groups(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = make(env_ids, tokenizer_folder)
    _, infos = env.reset(seed=[7, 7, 7, 7])
    for _ in range(5):
        assert len(set(infos["task_key"])) == 1
        *_, infos = env.step(np.ones(4, dtype=np.int64))


def test_named_examples_of_copies(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = make(env_ids, tokenizer_folder)
    keys = ["train/2", "train/0", None, "train/2"]
    _, infos = env.reset(seed=1, options={"task_keys": keys})
    _, random = env.reset(seed=1)
    assert [infos["task_key"][row] for row in (0, 1, 3)] == ["train/2", "train/0", "train/2"]
    assert infos["task_key"][2] == random["task_key"][2]
    assert set(env.reset(options={"task_key": "train/5"})[1]["task_key"]) == {"train/5"}
    with pytest.raises(ValueError, match="list of 4 task_keys"):
        env.reset(options={"task_keys": ["train/0"]})
    for options in ({"task_keys": 5}, {"task_keys": "train/0"}, {"task_key": 1}, {"task_keys": [None, None, None, 2]}):
        with pytest.raises(TypeError, match=r"expected .*, got "):
            env.reset(options=options)
    with pytest.raises(ValueError, match="4 seeds"):
        env.reset(seed=[1, 2])


def test_one_reward_call_per_step(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    calls: list[int] = []

    def reward(prompts: Any, responses: Any, examples: Any) -> list[float]:
        calls.append(len(responses))
        return [0.0] * len(responses)

    env = make(env_ids, tokenizer_folder, n=6, reward=reward)
    env.reset(seed=0)
    env.step(np.array([1, 1, 1, 5, 5, 5]))
    env.step(np.array([5, 5, 5, 5, 5, 5]))
    assert calls == [3]


def test_observations_are_copies(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = make(env_ids, tokenizer_folder)
    observation, _ = env.reset(seed=0)
    before = {key: value.copy() for key, value in observation.items()}
    for value in observation.values():
        value[:] = 0
    assert data_equivalence(env.observation(), before)


def test_state_goes_on_as_if_never_interrupted(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = make(env_ids, tokenizer_folder, stop=("the",))
    env.reset(seed=[7, 7, 8, 9])
    plan = actions(80, 4, seed=5)
    for action in plan[:33]:
        env.step(action)
    state = env.get_state()
    json.dumps({key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()})
    expected = [env.step(action) for action in plan[33:]]
    twin = make(env_ids, tokenizer_folder, stop=("the",))
    twin.set_state(state)
    actual = [twin.step(action) for action in plan[33:]]
    for left, right in zip(expected, actual, strict=True):
        assert data_equivalence(left[:4], right[:4])
        assert list(left[4].get("task_key", [])) == list(right[4].get("task_key", []))
    assert env.get_state()["draws"] == twin.get_state()["draws"]


def test_state_of_unseeded_copies_resumes_too(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env, twin = make(env_ids, tokenizer_folder), make(env_ids, tokenizer_folder)
    env.reset()
    env.step(np.ones(4, dtype=np.int64))
    twin.set_state(env.get_state())
    assert list(env.reset()[1]["task_key"]) == list(twin.reset()[1]["task_key"])


def test_state_of_another_environment_is_refused(
    env_ids: tuple[str, str], tokenizer_folder: Path, foreign_folder: Path
) -> None:
    env, other, smaller = (
        make(env_ids, tokenizer_folder),
        make(env_ids, foreign_folder),
        make(env_ids, tokenizer_folder, n=2),
    )
    env.reset(seed=0)
    with pytest.raises(ValueError, match="tokenizer"):
        other.set_state(env.get_state())
    with pytest.raises(ValueError, match="shape"):
        smaller.set_state(env.get_state())


def test_mistakes_are_named(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = make(env_ids, tokenizer_folder)
    with pytest.raises(ResetNeeded):
        env.step(np.ones(4, dtype=np.int64))
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"shape \(4,\)"):
        env.step(np.ones(3, dtype=np.int64))
    with pytest.raises(InvalidAction, match="another tokenizer"):
        env.step(np.full(4, 5000))
    with pytest.raises(ValueError, match="num_envs"):
        make(env_ids, tokenizer_folder, n=0)


def test_episode_vector_env(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = gym.make_vec(env_ids[1], num_envs=3)
    tokens = make(env_ids, tokenizer_folder, n=3)
    prompts, infos = env.reset(seed=5)
    assert list(infos["task_key"]) == list(tokens.reset(seed=5)[1]["task_key"])
    following, rewards, ended, cut, infos = env.step(["a", "", "日本"])
    assert (ended.tolist(), cut.tolist()) == ([True] * 3, [False] * 3)
    assert list(infos["final_obs"]) == list(prompts)
    assert list(infos["final_info"]["text"]) == ["a", "", "日本"]
    assert infos["final_info"]["rewards"]["total"].tolist() == rewards.tolist()
    assert following in env.observation_space
    with pytest.raises(InvalidAction, match="3 texts"):
        env.step(["a"])
    with pytest.raises(InvalidAction, match="got int"):
        env.step(["a", 3, "b"])


@pytest.mark.parametrize("grain", [0, 1])
def test_rendering(
    env_ids: tuple[str, str], tokenizer_folder: Path, capsys: pytest.CaptureFixture[str], grain: int
) -> None:
    kwargs: dict[str, Any] = {"model": str(tokenizer_folder)} if grain == 0 else {}
    ansi, human = (gym.make_vec(env_ids[grain], num_envs=2, render_mode=mode, **kwargs) for mode in ("ansi", "human"))
    shown = ("Short.\n\nSummary:\n>>> ", "A literal <eos> and a <pad> in the text.\n\nSummary:\n>>> ")
    for env in (ansi, human):
        with pytest.raises(ResetNeeded, match="before render"):
            env.render()
        env.reset(options={"task_keys": ["train/3", "train/5"]})
    assert ansi.render() == shown
    human.render()
    assert capsys.readouterr().out == "\n\n".join(shown) + "\n"
    ended: Any = np.array([1, 1]) if grain == 0 else ["", ""]
    human.step(ended)
    printed = capsys.readouterr().out.split("\n= reward ")
    assert (printed[0], printed[1].partition("\n\n")[2], len(printed)) == (*shown, 3)


def test_human_mode_prints_texts_as_they_end(
    env_ids: tuple[str, str], tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = make(env_ids, tokenizer_folder, n=2, render_mode="human")
    env.reset(options={"task_keys": ["train/3", "train/4"]})
    env.step(np.array([70, 70]))
    assert capsys.readouterr().out == ""
    text = env.tokenizer.decode([70])
    env.step(np.array([1, 70]))
    assert capsys.readouterr().out.startswith(f"Short.\n\nSummary:\n>>> {text}\n= reward ")


def test_async_vector_env_fails_loudly_with_shared_memory(env_ids: tuple[str, str]) -> None:
    task = gym.spec(env_ids[1]).kwargs["task"]

    def single() -> Any:
        from textgym.envs import EpisodeTextEnv

        return EpisodeTextEnv(task)

    with pytest.raises(ValueError, match="shared_memory"):
        AsyncVectorEnv([single, single])
