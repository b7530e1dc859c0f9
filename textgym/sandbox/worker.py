"""The process between training and guests: it reads programs, one per line, and writes their results.

It is started with nothing of textgym but this folder, runs no code of a program itself, and ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from textgym.sandbox.bubblewrap import BubblewrapGuest, SandboxStartError, find_bubblewrap
from textgym.sandbox.limits import Limits
from textgym.sandbox.monty import MontyGuests
from textgym.sandbox.programs import OpenGuest, run_program

_PROBE = {
    "code": "def double(n):\n    return 2 * n",
    "entry_point": "double",
    "calls": [[21]],
    "setup": "",
    "checks": ["assert double(4) == 8"],
    "names": ["double"],
}
_WORKER_MB = 4096  # of address space, with everything that a level adds


class NoSandboxError(Exception):
    """A level cannot be had on this machine; the message says why."""


def main(settings: dict[str, Any]) -> None:
    """Serve until standard input ends.

    Args:
        settings: ``level``, and the fields of :class:`~textgym.sandbox.limits.Limits` as ``limits``.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing else may write to the answers
    signal.signal(signal.SIGTERM, _leave)
    limits = Limits(**settings["limits"])
    with contextlib.ExitStack() as stack:
        try:
            _limit_memory(limits)
            guests = stack.enter_context(_LEVELS[settings["level"]](limits))
            probed = run_program(_PROBE, guests)
            if probed != [{"value": 42}, {"value": None}]:
                raise NoSandboxError(f"it answers {probed} to a test program")
        except (NoSandboxError, ImportError, OSError, RuntimeError) as error:
            _write(answers, {"unavailable": f"{type(error).__name__}: {error}"})
            return
        _write(answers, {"ready": True})
        for line in sys.stdin:
            try:
                message: dict[str, Any] = {"replies": run_program(json.loads(line), guests)}
            except SandboxStartError as error:
                message = {"unavailable": str(error)}
            _write(answers, message)


@contextlib.contextmanager
def _monty(limits: Limits) -> Iterator[OpenGuest]:
    with MontyGuests(limits) as guests:
        yield guests.open


@contextlib.contextmanager
def _bubblewrap(limits: Limits) -> Iterator[OpenGuest]:
    """Offer sandboxes, one of them always started ahead."""
    bwrap = _working_bubblewrap(limits)
    spares: list[BubblewrapGuest] = []

    @contextlib.contextmanager
    def open_guest() -> Iterator[BubblewrapGuest]:
        with spares.pop() if spares else BubblewrapGuest(bwrap, limits) as guest:
            guest.wait_until_ready()
            yield guest
        if not spares:
            spares.append(BubblewrapGuest(bwrap, limits))

    try:
        yield open_guest
    finally:
        for spare in spares:
            spare.close()


def _working_bubblewrap(limits: Limits) -> str:
    """Return the first bubblewrap that really makes a sandbox.

    Raises:
        NoSandboxError: None does.
    """
    reasons = []
    for bwrap in find_bubblewrap():
        try:
            with BubblewrapGuest(bwrap, limits, listen=True) as guest:
                guest.wait_until_ready()
                return bwrap
        except (OSError, RuntimeError) as error:
            reasons.append(f"{bwrap}: {error}")
    raise NoSandboxError("; ".join(reasons) or "there is no bwrap on this machine")


_LEVELS = {"monty": _monty, "bubblewrap": _bubblewrap}


def _limit_memory(limits: Limits) -> None:
    """Keep this process and its children from taking all memory, where the system can do that."""
    if sys.platform == "linux":
        import resource

        most = (_WORKER_MB + 4 * limits.memory_mb) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _write(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
