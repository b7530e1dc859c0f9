"""A reward for texts of about a wanted length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.metrics.words import count_words
from textgym.types import Example, FloatArray


def length(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, target: int = 20, width: int = 0
) -> FloatArray:
    """Score ``n`` texts by their number of words.

    Args:
        prompts, examples: Not looked at.
        responses: ``n`` texts.
        target: Number of words that gets 1.
        width: Number of words away from it that gets 0; 0 stands for ``target``.

    Returns:
        Shape ``(n,)``, in [0, 1]: falling in a straight line to both sides of the target. Words are those of
        :func:`~textgym.metrics.words.count_words`.

    Raises:
        ValueError: ``target`` is below 1, or ``width`` below 0.

    Example:
        >>> length([""] * 3, ["one two three four five", "word " * 20, "word " * 50], []).tolist()
        [0.25, 1.0, 0.0]
    """
    if target < 1 or width < 0:
        raise ValueError(f"expected a target of at least 1 and no negative width, got {target} and {width}")
    words = np.array([count_words(response) for response in responses], dtype=np.float64)
    return np.maximum(0.0, 1.0 - np.abs(words - target) / (width or target))
