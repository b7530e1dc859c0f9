"""Measures of spelling: letters in their place, and a trap for algorithms that climb."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.types import Example, FloatArray

DECOY = 0.5
"""Most that a text can get from the deceptive reward without being the word."""


def letters(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return the share of the letters of the first reference that stand in their place, minus that of letters too many.

    Returns:
        Shape ``(n,)``, in [0, 1], 1 for the reference alone; 0 without references.

    >>> letters([""] * 4, ["ab", "abc", "bbc", "abcab"], [Example("", "", ("abc",))] * 4).round(3).tolist()
    [0.667, 1.0, 0.667, 0.333]
    """
    return np.array([_in_place(*pair) for pair in zip(responses, map(_target, examples), strict=True)])


def decoy(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return 1 for the first reference, and for other texts half the share of its letters that are written wrongly.

    The more letters of a text are right, the less it gets, until all of them are: a trap for algorithms that climb.

    Returns:
        Shape ``(n,)``, in [0, 1]; 0 without references.

    References:
        Deb and Goldberg, "Analyzing deception in trap functions" (1993).

    >>> decoy([""] * 4, ["", "ab", "abb", "caa"], [Example("", "", ("abc",))] * 4).round(3).tolist()
    [0.0, 0.0, 0.167, 0.5]
    """
    return np.array([_trap(*pair) for pair in zip(responses, map(_target, examples), strict=True)])


def _target(example: Example) -> str:
    return next((reference.strip() for reference in example.references), "")


def _in_place(text: str, target: str) -> float:
    text = text.strip()
    right = sum(written == wanted for written, wanted in zip(text, target, strict=False))
    return max(0, right - max(0, len(text) - len(target))) / len(target) if target else 0.0


def _trap(text: str, target: str) -> float:
    text = text.strip()
    if not target or text == target:
        return float(bool(target))
    wrong = sum(written != wanted for written, wanted in zip(text, target, strict=False))
    return DECOY * wrong / len(target)
