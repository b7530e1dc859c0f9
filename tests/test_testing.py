from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.data import DataWarning
from textgym.envs import EpisodeTextEnv
from textgym.testing import ConformanceError, check_agent, check_reward, check_text_env
from textgym.types import Example, FloatArray


def length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    return np.array([len(text) / 100 for text in responses])


def one_for_all(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [1.0]


def by_rank(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    return np.arange(len(responses), dtype=np.float64)


def nan_for_empty(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [1.0 if text else float("nan") for text in responses]


class Worded:
    """An agent of a grain that does not exist."""

    grain = "word"

    def act(self, observations: Any, *, greedy: bool = False, generator: Any = None) -> Any:
        raise AssertionError("there is no environment for it")

    def save(self, folder: Path) -> None: ...

    @classmethod
    def create(cls, env: Any, model: Any = None, **_: Any) -> Worded:
        raise AssertionError("there is no environment for it")

    load = create


class Writer:
    """An agent that repeats one token or text, or one that breaks a rule."""

    def __init__(self, action: Any = 5, *, scribble: bool = False, restless: bool = False, few: bool = False) -> None:
        self.action, self.scribble, self.few = action, scribble, few
        self.grain = "episode" if isinstance(action, str) else "token"
        self.calls, self.restless = 0, restless

    def act(self, observations: Any, *, greedy: bool = False, generator: Any = None) -> Any:
        if self.scribble:
            observations["input_ids"][0] += 1
        self.calls += 1
        rows = observations if self.grain == "episode" else observations["input_ids"]
        return [self.action + self.calls if self.restless else self.action] * (len(rows) - self.few)

    def save(self, folder: Path) -> None:
        Path(folder).write_text(json.dumps(self.action if isinstance(self.action, str) else int(self.action)))

    @classmethod
    def load(cls, folder: Path) -> Writer:
        return cls(json.loads(Path(folder).read_text()))


@pytest.mark.parametrize("stop", [(), ("\n", "e")])
def test_own_environments_conform(env_ids: tuple[str, str], tokenizer_folder: Path, stop: tuple[str, ...]) -> None:
    check_text_env(env_ids[0], model=str(tokenizer_folder), stop=stop)
    check_text_env(env_ids[1], stop=stop, reward=length)


def test_foreign_tokenizers_conform(env_ids: tuple[str, str], foreign_folder: Path, metaspace_folder: Path) -> None:
    check_text_env(env_ids[0], model=str(foreign_folder))
    check_text_env(gym.make(env_ids[0], model=str(metaspace_folder), max_prompt_tokens=120, stop=("T",)))


def test_env_with_a_bad_reward_is_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    with pytest.raises(ConformanceError, match="single"):
        check_text_env(env_ids[0], model=str(tokenizer_folder), reward=by_rank)


def always_nan(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [float("nan")] * len(responses)


def broken(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [1.0 / len(text) for text in responses]


class Forgetful(EpisodeTextEnv):
    """Forgets to say which example it is."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        return super().reset(seed=seed, options=options)[0], {}


class Unready(EpisodeTextEnv):
    """Fails to start."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        raise KeyError("no example")


def test_env_with_a_failing_reward_is_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    with pytest.raises(ConformanceError, match="got RewardError: expected finite numbers"):
        check_text_env(env_ids[0], model=str(tokenizer_folder), reward=always_nan)
    with pytest.raises(ConformanceError, match="got RewardError: expected finite numbers"):
        check_text_env(env_ids[1], reward=always_nan)
    with pytest.raises(ConformanceError, match="got ZeroDivisionError"):
        check_text_env(env_ids[1], reward=broken)


@pytest.mark.parametrize(
    ("kind", "message"), [(Forgetful, "expected 'task_key' in the info of a reset"), (Unready, "got KeyError: 'no exa")]
)
def test_env_with_a_bad_reset_is_refused(
    env_ids: tuple[str, str], monkeypatch: pytest.MonkeyPatch, kind: type[EpisodeTextEnv], message: str
) -> None:
    spec = gym.envs.registration.EnvSpec("TestReset-v0", entry_point=kind, kwargs=gym.spec(env_ids[1]).kwargs)
    monkeypatch.setitem(gym.registry, spec.id, spec)
    with pytest.raises(ConformanceError, match=message):
        check_text_env(spec.id)


@pytest.mark.parametrize("render_mode", [None, "ansi", "human"])
def test_data_with_a_bad_row_conform(tmp_path: Path, render_mode: str | None) -> None:
    rows = [{"prompt": f"Text {n}.", "summary": f"{n}"} for n in range(40)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"prompt": 3}, *rows]))
    with pytest.warns(DataWarning, match="1 skipped"):
        env = gym.make("TextSummEpisode-v0", data=path, reward=length, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_text_env(env)


class Impatient(gym.Wrapper[Any, Any, Any, Any]):
    """Ends every episode at once."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, True, info


def test_envs_whose_texts_are_cut_are_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=6, max_episode_steps=5)
    with pytest.raises(ConformanceError, match=r"a TimeLimit of 5 steps .* use max_new_tokens"):
        check_text_env(env)
    impatient = Impatient(gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=6))
    with pytest.raises(ConformanceError, match=r"cut by a limit of steps: .* use max_new_tokens"):
        check_text_env(impatient)
    with pytest.raises(ConformanceError, match="cut by a limit of steps"):
        check_agent(Writer(np.int64(70)), impatient)
    check_text_env(gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=6, max_episode_steps=6))
    check_text_env(gym.make(env_ids[1], max_episode_steps=1))


def test_other_envs_are_refused() -> None:
    with pytest.raises(ConformanceError, match="CartPole"):
        check_text_env("CartPole-v1")


def test_good_rewards_conform() -> None:
    check_reward(length)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (one_for_all, "shape"),
        (by_rank, "alone as in a batch"),
        (nan_for_empty, "finite"),
        (broken, "'broken' to score every text, got ZeroDivisionError"),
    ],
)
def test_bad_rewards_are_refused(reward: Any, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_reward(reward)


def test_agents(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = gym.make(env_ids[0], model=str(tokenizer_folder))
    check_agent(Writer(np.int64(5)), env)
    check_agent(Writer("A text."), gym.make(env_ids[1]))
    with pytest.raises(ConformanceError, match="expected an action in TokenSpace"):
        check_agent(Writer(np.int64(10**6)), env)
    with pytest.raises(ConformanceError, match="leave the observation alone"):
        check_agent(Writer(np.int64(5), scribble=True), env)
    with pytest.raises(ConformanceError, match="expected 1 actions, got 0"):
        check_agent(Writer(np.int64(5), few=True), env)
    with pytest.raises(ConformanceError, match="from generators of the same seed"):
        check_agent(Writer(np.int64(5), restless=True), env)
    with pytest.raises(ConformanceError, match="grain 'episode'"):
        check_agent(Writer("A text."), env)
    with pytest.raises(TypeError, match="expected the id of an environment to make 'random' for"):
        check_agent("random", env)


@pytest.mark.parametrize("agent", [Worded(), f"{__name__}:Worded"])
def test_an_agent_of_no_grain_is_told_which_there_are(agent: Any, env_ids: tuple[str, str]) -> None:
    told = "expected the attribute grain of the agent Worded to be 'token' or 'episode', got 'word'; set it"
    for env_id in env_ids:
        with pytest.raises(ConformanceError, match=f"^{told}"):
            check_agent(agent, env_id)


def test_one_text_is_not_taken_for_its_letters(env_ids: tuple[str, str]) -> None:
    class Single(Writer):
        def act(self, observations: Any, *, greedy: bool = False, generator: Any = None) -> Any:
            return "four"

    told = r"expected 4 actions in a list or an array, got 'four' from Single\.act; return one for every observation"
    with pytest.raises(ConformanceError, match=told):
        check_agent(Single("four"), env_ids[1])
