"""A reward that somebody else wrote, kept from harming the run that calls it."""

from __future__ import annotations

import contextvars
import hashlib
import os
import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from textgym import console
from textgym.errors import RewardError, exits_as
from textgym.naming import argument
from textgym.rewards import ScoredConversations, Scores, Shaping, resolve_reward, reward_name, score, shaping_of
from textgym.types import Example, NameOrPath, RewardFn, Shown, Task

# What a reward may have changed by its end, and how it is put back.
_SWITCHES: dict[str, tuple[Callable[[], object], Callable[[Any], object]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, torch.set_default_device),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "whether torch keeps gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "how numpy treats floating-point errors": (np.geterr, lambda kinds: np.seterr(**kinds)),
}


def guarded(name: str | None, seconds: float | None) -> str | GuardedReward | None:
    """Return what an environment is given as its reward: the name, guarded if it is not one of ours, or is limited.

    Args:
        name: Name of the reward, ``"module:attribute"`` for foreign code. ``None`` is the task's default.
        seconds: Longest time of a call; ``None`` for no limit.
    """
    is_ours = name is None or ":" not in name or Path(name).exists()
    return name if is_ours and seconds is None else GuardedReward(name, seconds)


def guarded_reward(reward: RewardFn | NameOrPath, task: Task) -> RewardFn:
    """Return the reward that a user or a task named, resolved for a task, and guarded if it is not one of ours."""
    if callable(reward):
        return GuardedReward(reward).bind(task)
    return resolve_reward(guarded(os.fspath(reward), None) or reward, task)


class GuardedReward(ScoredConversations):
    """A reward whose side effects are undone, whose exit is an error, and whose time may be limited.

    * ``SystemExit`` and whatever else would end the process becomes a :class:`~textgym.errors.RewardError` that names
      the reward.
    * The working directory, torch's default dtype and device, its number of threads, its gradient mode and numpy's
      treatment of errors are put back, with a warning that names the reward, once each.
    * Global random generators (Python's, numpy's, torch's) that the reward drew from or seeded go on in a state that
      follows from the one before the call alone, so that a fixed seed inside a reward cannot make a run repeat itself,
      and a resumed run gets the same numbers.
    * With ``seconds``, a call that takes longer is a :class:`~textgym.errors.RewardError`. It is made in a thread of
      its own, which Python cannot end: it goes on until it returns or the process ends. A call that never lets other
      threads run (C code that keeps the interpreter's lock) is not noticed.
    """

    def __init__(self, reward: RewardFn | NameOrPath | None, seconds: float | None = None) -> None:
        """Guard ``reward``, a callable or a name (``None``: the default of the task it is bound to)."""
        self.name = reward_name(reward) if callable(reward) else str(reward)
        self._reward, self._seconds = reward, seconds
        self._reported: set[str] = set()
        self._worker: _Worker | None = None

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward that is guarded."""
        return (self._reward,)

    @cached_property
    def shaping(self) -> Shaping | None:
        """The shaping of the reward, its potential guarded too; ``None`` where it comes at the end."""
        found = shaping_of(self._reward)
        return None if found is None else found._replace(potential=GuardedReward(found.potential, self._seconds))

    def bind(self, task: Task | None) -> GuardedReward:
        """Return a copy whose reward, if given by name, is resolved for ``task``; importing it is guarded too."""
        reward = task.reward if self._reward is None and task is not None else self._reward
        with undisturbed(f"the reward {reward!r}", self._reported), exits_as(RewardError, f"a reward at {self.name!r}"):
            return GuardedReward(resolve_reward(reward, task), self._seconds)  # type: ignore[arg-type]

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations.

        Raises:
            RewardError: The reward wants to exit, or takes too long.
        """

        def call() -> Scores:
            reward = self._reward if callable(self._reward) else resolve_reward(self._reward or "")
            return score(reward, prompts, responses, examples)

        numbers = f"numbers from the reward {self.name!r}"
        with undisturbed(f"the reward {self.name!r}", self._reported), exits_as(RewardError, numbers):
            return call() if self._seconds is None else self._in_time(call, len(responses))

    def _in_time(self, call: Callable[[], Scores], texts: int) -> Scores:
        self._worker = self._worker or _Worker()
        try:
            return self._worker.run(call, self._seconds)
        except _TooLateError:
            self._worker = None  # it may never come back
            raise RewardError(
                f"expected the reward {self.name!r} to score {texts} texts within {self._seconds:g} s "
                f"({argument('reward_timeout')}), got nothing; make it faster or raise the limit"
            ) from None


class _TooLateError(Exception):
    """A call took too long."""


class _Worker:
    """A thread that makes one call after the other; the first thread's numbers and those made here are the same."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Scores]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Scores | None, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="reward").start()

    def run(self, call: Callable[[], Scores], seconds: float | None) -> Scores:
        """Return what a call returns, or raise what it raises; ``_TooLateError`` after so many seconds."""
        self._calls.put(partial(contextvars.copy_context().run, call))
        try:
            result, error = self._results.get(timeout=seconds)
        except queue.Empty:
            raise _TooLateError from None
        if error is not None:
            raise error
        assert result is not None
        return result

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            try:
                self._results.put((call(), None))
            except BaseException as error:  # whatever it is, it belongs to the caller
                self._results.put((None, error))


@contextmanager
def undisturbed(who: str, reported: set[str]) -> Iterator[None]:
    """Put back what the code inside the block changes of this process, and say so once.

    Args:
        who: Owner of the code, for the message.
        reported: Messages already reported; added to.
    """
    folder = _working_directory()
    switches = {name: read() for name, (read, _) in _SWITCHES.items()}
    generators = [(generator, generator.read()) for generator in _generators()]
    try:
        yield
    finally:
        changed = []
        if folder is not None and _working_directory() != folder:
            os.chdir(folder)
            changed.append("the working directory")
        for name, value in switches.items():
            read, write = _SWITCHES[name]
            if read() != value:
                write(value)
                changed.append(name)
        for generator, state in generators:
            if generator.read() != state:
                generator.seed(_seed_after(state))
        for name in changed:
            if name not in reported:
                reported.add(name)
                console.warn(f"{who} changed {name}; it is restored after every call")


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody removed it
        return None


class _Generator(NamedTuple):
    """A global random generator: how to read its state, and how to seed it."""

    read: Callable[[], object]
    seed: Callable[[int], object]


def _generators() -> list[_Generator]:
    on_gpu = [torch.cuda.default_generators[i] for i in range(len(torch.cuda.default_generators))]
    return [
        _Generator(random.getstate, random.seed),
        _Generator(_read_numpy, np.random.seed),
        *(_of_torch(generator) for generator in (torch.default_generator, *on_gpu)),
    ]


def _read_numpy() -> tuple[bytes, int]:
    inner = np.random.get_state(legacy=False)["state"]
    return inner["key"].tobytes(), int(inner["pos"])


def _of_torch(generator: torch.Generator) -> _Generator:
    return _Generator(lambda: generator.get_state().numpy().tobytes(), generator.manual_seed)


def _seed_after(state: object) -> int:
    """Return a seed that follows from a state alone."""
    return int.from_bytes(hashlib.sha256(repr(state).encode()).digest()[:4], "little")
