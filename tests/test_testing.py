from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

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


class Writer:
    """An agent that repeats one token, or one that breaks a rule."""

    def __init__(self, action: Any, *, scribble: bool = False) -> None:
        self.action, self.scribble = action, scribble

    def act(self, observation: Any) -> Any:
        if self.scribble:
            observation["input_ids"][0] += 1
        return self.action


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


def test_other_envs_are_refused() -> None:
    with pytest.raises(ConformanceError, match="CartPole"):
        check_text_env("CartPole-v1")


def test_good_rewards_conform() -> None:
    check_reward(length)


@pytest.mark.parametrize(
    ("reward", "message"), [(one_for_all, "shape"), (by_rank, "alone as in a batch"), (nan_for_empty, "finite")]
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
