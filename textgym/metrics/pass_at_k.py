"""Pass@k: the chance that one of k programs passes all its tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from textgym.sandbox import Limits, score_replies
from textgym.sandbox.limits import Choice
from textgym.types import Episode, FloatArray


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass@k from ``n`` programs, of which ``c`` are correct.

    One minus the chance that ``k`` of them, drawn without replacement, are all wrong.

    >>> round(pass_at_k(10, 3, 1), 12), round(pass_at_k(5, 5, 3), 12)
    (0.3, 1.0)

    Args:
        n: Programs for one problem.
        c: Programs that pass all tests.
        k: Number of tries.

    Raises:
        ValueError: Not ``0 <= c <= n`` and ``1 <= k <= n``.

    References:
        Chen et al., "Evaluating large language models trained on code" (2021), equation 1.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"expected 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}; k tries need k programs")
    wrong = np.arange(n - c - k + 1, n - c + 1)  # (k,): C(n - c, k) / C(n, k) as a product, which cannot overflow
    return float(1.0 - np.prod(np.maximum(wrong, 0) / np.arange(n - k + 1, n + 1)))


class PassAtK:
    """Pass@k as a metric: every episode gets the estimate of its example, from all episodes of that example.

    Args:
        k: Number of tries.
        level: Sandbox that the programs run in.
        limits: Limits of each program.
    """

    def __init__(self, k: int = 1, level: Choice = "auto", limits: Limits | None = None) -> None:
        if k < 1:
            raise ValueError(f"expected at least 1 as k, got {k}; 1 is the share of programs that pass")
        self._k, self._level, self._limits = k, level, limits

    def __call__(self, episodes: Sequence[Episode]) -> FloatArray:
        """Measure ``n`` episodes; shape ``(n,)``, NaN for examples without tests, or with fewer than ``k`` episodes."""
        tested = [episode for episode in episodes if {"test", "tests"} & episode.example.extra.keys()]
        outcomes = score_replies(
            [episode.text for episode in tested],
            [episode.example for episode in tested],
            level=self._level,
            limits=self._limits,
        )
        tried, passed = Counter[str](), Counter[str]()
        for episode, tests in zip(tested, outcomes, strict=True):
            tried[episode.example.key] += 1
            passed[episode.example.key] += all(test.passed for test in tests)
        values = {key: pass_at_k(n, passed[key], self._k) for key, n in tried.items() if n >= self._k}
        return np.array([values.get(episode.example.key, np.nan) for episode in episodes], dtype=np.float64)
