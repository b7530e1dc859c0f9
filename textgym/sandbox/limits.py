"""Limits of a program, and the outcome of a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["monty", "bubblewrap"]
LEVELS: tuple[Level, ...] = ("monty", "bubblewrap")
Choice = Literal["auto", "monty", "bubblewrap"]
"""A level, or ``"auto"``: the first that there is."""
Reason = Literal["", "wrong", "error", "timeout", "memory", "crashed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program, all its tests together.

    Attributes:
        seconds: Processor time, rounded up to whole seconds (``"bubblewrap"``); time of one call (``"monty"``, which
            has no other clock).
        memory_mb: Memory, in units of 2**20 bytes.
        output_kb: Size of one returned value, and of the printed text, in units of 1,024 bytes.
    """

    seconds: float = 2.0
    memory_mb: int = 256
    output_kb: int = 1024

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: One is not positive, or there is too little memory to start in.
        """
        if not 0 < self.seconds <= 3600:
            raise ValueError(f"expected 0 < seconds <= 3600, got {self.seconds!r}; give seconds of computing time")
        if not 16 <= self.memory_mb <= 2**16:
            raise ValueError(f"expected 16 <= memory_mb <= 65,536, got {self.memory_mb!r}; 256 is the default")
        if not 1 <= self.output_kb <= 2**14:
            raise ValueError(f"expected 1 <= output_kb <= 16,384, got {self.output_kb!r}; 1024 is the default")


def waiting_seconds(limits: Limits) -> float:
    """Return how long one program is waited for: longer than it may compute, as other processes compute too."""
    return 2 * limits.seconds + 1


class Outcome(NamedTuple):
    """Outcome of one test.

    Attributes:
        passed: Whether it passed.
        reason: Why not: ``"wrong"`` (another value, or a failed assertion), ``"error"`` (the program raised one, or is
            none), ``"timeout"``, ``"memory"``, or ``"crashed"`` (the guest ended, or broke the protocol).
        detail: Message, for people; made by the program, so it is cut and has no control characters.
    """

    passed: bool
    reason: Reason = ""
    detail: str = ""
