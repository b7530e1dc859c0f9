"""The share of hidden unit tests that the code in a response passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.sandbox import LEVELS, Limits, score_replies
from textgym.sandbox.limits import Choice
from textgym.types import Example, FloatArray


class UnitTests:
    """The share of hidden tests that the code in a response passes, in ``[0, 1]``; run in a sandbox.

    The tests are columns of the data, ``tests`` or ``test``, and ``entry_point``
    (:func:`~textgym.sandbox.suites.suite_of`). Workers start with the first text to score, and are shared.

    Args:
        level: Sandbox: ``"monty"`` (a subset of Python), ``"bubblewrap"`` (full Python), or ``"auto"``: the first of
            them that there is.
        seconds: Computing time of a program, all its tests together.
        memory_mb: Memory of a program, in units of 2**20 bytes.
    """

    name = "unit_tests"

    def __init__(self, level: Choice = "auto", seconds: float = 2.0, memory_mb: int = 256) -> None:
        if level not in ("auto", *LEVELS):
            raise ValueError(f"expected one of auto, {', '.join(LEVELS)} as level of the sandbox, got {level!r}")
        self._level = level
        self._limits = Limits(seconds, memory_mb)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        outcomes = score_replies(responses, examples, limits=self._limits, level=self._level)
        return np.array([sum(each.passed for each in tests) / len(tests) for tests in outcomes], dtype=np.float64)
