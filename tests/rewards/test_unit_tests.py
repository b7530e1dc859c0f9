"""The reward for programs that pass hidden tests."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from textgym.errors import DataError, SandboxUnavailableError
from textgym.rewards.names import resolve_reward
from textgym.rewards.protocol import score
from textgym.rewards.unit_tests import UnitTests
from textgym.sandbox import running
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


def test_without_a_sandbox_only_scoring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", "/nowhere")
    reward = UnitTests(seconds=1.125)
    with pytest.raises(SandboxUnavailableError, match="pip install pydantic-monty"):
        reward([""], REPLIES[:1], [EXAMPLE])


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="expected one of auto, monty, bubblewrap"):
        UnitTests(level="docker")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        UnitTests(seconds=0)
