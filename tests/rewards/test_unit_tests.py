"""The reward for programs that pass hidden tests."""

from __future__ import annotations

import re
import sys

import gymnasium
import numpy as np
import pytest

from textgym.errors import DataError, SandboxUnavailableError
from textgym.rewards.names import resolve_reward
from textgym.rewards.protocol import score
from textgym.rewards.unit_tests import UnitTests
from textgym.sandbox import close_shared_sandboxes, running
from textgym.types import Example

TESTS = [[[1], 2], [[2], 4], [[3], 6], [[4], 8]]
EXAMPLE = Example("a", "Write a function twice(n).", extra={"entry_point": "twice", "tests": TESTS})
REPLIES = [
    "def twice(n): return 2 * n",
    "Like this:\n```python\ndef twice(n):\n    return n * n if n == 2 else n + 1\n```",
    "import os\nos._exit(0)",
    "I do not know.",
    "",
]


def test_the_reward_is_the_share_of_tests_passed() -> None:
    reward = resolve_reward("unit_tests")
    found = score(reward, [""] * len(REPLIES), REPLIES, [EXAMPLE] * len(REPLIES))
    np.testing.assert_array_equal(found.total, [1, 0.5, 0, 0, 0])
    assert found.parts.keys() == {"unit_tests"}


def test_options_are_read_from_the_name() -> None:
    reward = resolve_reward("0.5*unit_tests?level=monty&seconds=1&memory_mb=64")
    found = score(reward, ["", ""], REPLIES[:2], [EXAMPLE] * 2)
    np.testing.assert_array_equal(found.total, [0.5, 0.25])
    with pytest.raises(ValueError, match="expected one of auto, monty, bubblewrap"):
        resolve_reward("unit_tests?level=docker")


def test_no_texts_are_no_rewards() -> None:
    assert UnitTests()([], [], []).shape == (0,)


def test_the_same_program_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def counted(programs: list[object], **options: object) -> list[list[object]]:
        ran.append(len(programs))
        return original(programs, **options)  # type: ignore[arg-type, return-value]

    original = running.run_many
    monkeypatch.setattr(running, "run_many", counted)
    monkeypatch.setattr(running, "_REMEMBERED", type(running._REMEMBERED)())
    replies = [REPLIES[0], REPLIES[1], REPLIES[0]]
    for _ in range(2):
        np.testing.assert_array_equal(UnitTests()([""] * 3, replies, [EXAMPLE] * 3), [1, 0.5, 1])
    assert ran == [2, 0]


def test_examples_without_tests_are_an_error() -> None:
    with pytest.raises(DataError, match=r"expected tests.*'entry_point'"):
        UnitTests()([""], ["def f(): pass"], [Example("b", "Say hello.", extra={"entry_point": "f"})])


ROWS = [
    {"prompt": f"Write add_{k}(n) that adds {k}.", "entry_point": f"add_{k}", "tests": [[[1], 1 + k], [[2], 2 + k]]}
    for k in range(40)
]


def test_an_environment_scores_by_unit_tests() -> None:
    env = gymnasium.make("TextGenEpisode-v0", data=ROWS, reward="unit_tests")
    for _ in range(2):
        prompt, _ = env.reset(seed=3)
        k = int(re.search(r"add_(\d+)", prompt).group(1))  # type: ignore[union-attr]
        assert env.step(f"def add_{k}(n):\n    return n + {k}")[1] == 1.0
        env.reset(seed=3)
        assert env.step(f"def add_{k}(n):\n    return {k + 2}")[1] == 0.5


def test_without_a_sandbox_environments_are_made_and_scoring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    env = gymnasium.make("TextGenEpisode-v0", data=ROWS, reward="unit_tests")
    env.reset(seed=0)
    close_shared_sandboxes()
    monkeypatch.setattr(running, "_REMEMBERED", type(running._REMEMBERED)())
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailableError, match="pip install pydantic-monty"):
        env.step("def add(n): return n")


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="expected one of auto, monty, bubblewrap"):
        UnitTests(level="docker")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        UnitTests(seconds=0)
