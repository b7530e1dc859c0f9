"""Environment steps per CPU-second, without a model: ``textgym bench env``.

The ids are drawn at random beforehand, one in thirty an end of text, so that what is timed is the environment: bytes of
tokens, stop rules, observations, resets, rewards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.harness import Case, Options, Report, measure
from textgym.agents import make_vec_env
from textgym.types import Example

_COPIES, _STEPS = 64, 2000
_LENGTH = 30  # mean tokens of a text


class CountingReward:
    """A reward of nothing that counts calls and texts."""

    def __init__(self) -> None:
        self.calls, self.texts = 0, 0

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
        """Score texts."""
        self.calls, self.texts = self.calls + 1, self.texts + len(responses)
        return [0.0] * len(responses)


def run(options: Options) -> Report:
    """Time every way to step."""
    steps, copies = (20, 4) if options.smoke else (_STEPS, _COPIES)
    counts = CountingReward()
    with ExitStack() as stack:

        def opened(env: Any) -> Any:
            stack.callback(env.close)
            return env

        native: dict[str, Any] = {"num_envs": copies, "reward": counts}
        cases = [
            _case("gym.make", opened(gym.make("TextSumm-v0", reward=counts)), steps, 1),
            _case(
                "make_vec, sync",
                opened(gym.make_vec("TextSumm-v0", vectorization_mode="sync", **native)),
                steps // 20,
                copies,
            ),
            _case("make_vec, native", opened(gym.make_vec("TextSumm-v0", **native)), steps, copies),
            _case("SB3 adapter", opened(make_vec_env("TextSumm-v0", copies, 0, reward=counts)), steps, copies),
            _case(
                "SB3 adapter, ROUGE",
                opened(make_vec_env("TextSumm-v0", copies, 0, reward="rouge")),
                steps // 10,
                copies,
            ),
            _case("SB3 adapter, learned reward", opened(make_vec_env("TextSumm-v0", copies, 0)), steps // 20, copies),
        ]
        measurements = measure(cases, options)
    return Report(
        "env",
        f"Environment steps per CPU-second ({copies} copies in vector environments)",
        measurements,
        unit="steps",
        figures={"texts per reward call": round(counts.texts / max(1, counts.calls), 2)},
        notes=["Seconds are CPU seconds of the process."],
    )


def _case(name: str, env: Any, steps: int, copies: int) -> Case:
    """A case that counts CPU time."""
    rng = np.random.default_rng(0)
    space = env.action_space if copies == 1 else getattr(env, "single_action_space", env.action_space)
    actions = rng.integers(2, int(space.n), (steps, copies))
    actions[rng.random(actions.shape) < 1 / _LENGTH] = 1
    case = Case(name, lambda: None, steps * copies, extrapolated=True)
    step: Callable[[], None] = _single(env, actions[:, 0]) if copies == 1 else _batched(env, actions)

    def timed_steps() -> None:
        start = time.process_time()
        step()
        case.parts["cpu"] = time.process_time() - start

    case.run = timed_steps
    return case


def _single(env: Any, actions: np.ndarray[Any, Any]) -> Callable[[], None]:
    env.reset(seed=0)

    def run() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run


def _batched(env: Any, actions: np.ndarray[Any, Any]) -> Callable[[], None]:
    env.reset()

    def run() -> None:
        for row in actions:
            env.step(row)

    return run
