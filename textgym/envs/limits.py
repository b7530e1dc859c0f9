"""Limits of steps from outside: a text that a wrapper cuts is never scored, so that is said, or refused."""

from __future__ import annotations

import copy
import inspect
import warnings

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

from textgym.envs.types import AnyEnv

_TELLING = 3  # texts given up at one and the same length are no coincidence
_SHORTEST = 2  # checkers step once and reset
_CALLERS = 24  # wrappers call each other's reset, two or three functions each


def use_a_budget(what: str) -> str:
    """Say what to do instead of limiting the steps of a text environment."""
    return (
        f"expected texts that end by themselves, got {what}: a text that is cut from outside is never scored, and its "
        "reward is 0; use max_new_tokens=..., which ends a text and scores it, and leave out TimeLimit and "
        "max_episode_steps"
    )


def refuse_time_limit(env: AnyEnv, max_new_tokens: int) -> None:
    """Raise ``ValueError`` if ``env.reset``, which calls this, was called through a ``TimeLimit`` below the budget.

    An environment does not know what is wrapped around it, but a wrapper's own ``reset`` is among the callers.
    """
    frame = inspect.currentframe()
    for _ in range(_CALLERS):
        frame = frame.f_back if frame else None
        wrapper = frame.f_locals.get("self") if frame else None
        if isinstance(wrapper, TimeLimit) and wrapper.unwrapped is env:
            steps = _limit_of(wrapper)
            if steps is not None and steps < max_new_tokens:
                raise ValueError(use_a_budget(f"a TimeLimit of {steps} steps around texts of {max_new_tokens} tokens"))
    del frame  # a frame that is kept keeps all its variables


def _limit_of(wrapper: TimeLimit[object, object]) -> int | None:
    """Return after how many steps a ``TimeLimit`` ends episodes.

    It tells by its ``spec``, which it makes from that of what it wraps; an environment that was not made by
    ``gym.make`` has none, so a copy of the wrapper is asked that is put around one that has.
    """
    spec = wrapper.spec
    if spec is None:
        wrapper = copy.copy(wrapper)
        wrapper.env = gym.Env()
        wrapper.env.spec = gym.envs.registration.EnvSpec("Limit-v0")
        spec = wrapper.spec
    return spec.max_episode_steps if spec else None


class GivenUp:
    """Notices that texts are given up again and again after the same number of tokens, as limits of all kinds do.

    What an environment sees of a limit that it does not know is a reset in the middle of a text.
    """

    def __init__(self) -> None:
        """Begin with nothing noticed."""
        self._length = self._count = 0
        self._said = False

    def reset(self, tokens: int) -> None:
        """Note that a text was given up after so many tokens (0: none was running)."""
        if tokens < _SHORTEST:
            return
        self._count = self._count + 1 if tokens == self._length else 1
        self._length = tokens
        if self._count == _TELLING and not self._said:
            self._said = True
            warnings.warn(use_a_budget(f"{_TELLING} that were given up after {tokens} tokens each"), stacklevel=3)

    def finish(self, tokens: int) -> None:
        """Note that a text ended by itself; one that is longer shows that there is no limit."""
        if tokens > self._length:
            self._count = 0
