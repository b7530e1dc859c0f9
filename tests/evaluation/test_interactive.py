"""A person acts: what is typed reaches the environment turn by turn, and what is said to it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import textgym
from tests.envs.guessing import Guessing, write_tokenizer
from textgym.evaluation.interactive import play_texts, play_tokens

IDS = textgym.register_task("TestGuessing", Guessing)


@pytest.mark.parametrize("grain", ["token", "episode"])
def test_conversations_are_played_to_their_end(grain: str, tmp_path: Path) -> None:
    folder = str(write_tokenizer(tmp_path / "words"))
    env: Any = gym.make(IDS[grain == "episode"], **({"model": folder} if grain == "token" else {})).unwrapped
    shown: list[str] = []
    lines = iter(["x", "", "x y", "3", ""] if grain == "token" else ["x", "x y", "3"])
    asked: list[str] = []

    def read(prompt: str) -> str:
        asked.append(prompt)
        return next(lines)

    observation, _ = env.reset(seed=1, options={"task_key": "train/5"})
    play = play_tokens if grain == "token" else play_texts
    total, info = play(env, observation, read, shown.append)
    assert [turn["content"] for turn in info["turns"] if turn["role"] == "assistant"] == ["x", "x y", "3"]
    number = env.episode.state["number"]
    assert total == pytest.approx(0.1 + (number == 3))
    assert shown.count("User: higher") == 2
    assert next(lines, None) is None
    if grain == "token":
        assert asked == [f"[{left} tokens left] > " for left in (2, 1, 2, 2, 1)]
        assert shown == ["guess from 1 to 5 Assistant :", "... x", "User: higher", "User: higher", "... 3"]
