"""Advantages without a value function: of the texts of a group, which answer one prompt, and of all tokens of a batch.

Shapes: ``G`` groups of ``k`` texts; ``N`` tokens of a whole rollout.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from textgym.types import BoolArray, FloatArray, IntArray

Scale = Literal["group", "batch", "none"]
SCALES: tuple[Scale, ...] = ("group", "batch", "none")
_BESIDE_STD = 1e-4  # of rewards of order 1: a group whose texts are all alike has advantages of 0
_NO_SPREAD = 1e-6  # a deviation below this, in parts of the mean, is what rounding leaves of equal returns


def scores_of_texts(rewards: FloatArray, text_ids: IntArray, counted: BoolArray) -> FloatArray:
    """Sum the rewards of every text.

    Args:
        rewards: (T, B) of tokens.
        text_ids: (T, B) number of the text of each token, from 0.
        counted: (T, B) tokens that belong to the rollout.

    Returns:
        (M,) sums by number.
    """
    sums = np.bincount(text_ids[counted], weights=rewards[counted])
    return np.asarray(sums, dtype=np.float64)


def leave_one_out_advantages(scores: FloatArray) -> FloatArray:
    """Each score minus the mean of the others in its group (Ahmadian et al. 2024, arXiv:2402.14740, section 3.3).

    The baseline of a text does not depend on it, so that the gradient stays unbiased. It is k / (k - 1) times the
    difference to the mean of all of them.

    Args:
        scores: (G, k), k at least 2.

    Returns:
        (G, k).
    """
    size = _group_size(scores)
    advantages: FloatArray = (size * scores - scores.sum(1, keepdims=True)) / (size - 1)
    return advantages


def group_relative_advantages(scores: FloatArray, scale: Scale = "group") -> FloatArray:
    """Each score minus the mean of its group, divided by a standard deviation (Shao et al. 2024, arXiv:2402.03300).

    Args:
        scores: (G, k), k at least 2.
        scale: Standard deviation, with Bessel's correction: of the ``"group"`` (GRPO), of all scores of the
            ``"batch"``, or ``"none"`` (Dr. GRPO; Liu et al. 2025, arXiv:2503.20783), as that of the group gives prompts
            of little spread more weight.

    Returns:
        (G, k); 0 in groups without spread.

    Raises:
        ValueError: For another scale.
    """
    _group_size(scores)
    advantages: FloatArray = scores - scores.mean(1, keepdims=True)
    match scale:
        case "group":
            advantages = advantages / (scores.std(1, ddof=1, keepdims=True) + _BESIDE_STD)
        case "batch":
            advantages = advantages / (scores.std(ddof=1) + _BESIDE_STD)
        case "none":
            pass
        case _:
            raise ValueError(f"expected a scale of {', '.join(SCALES)}, got {scale!r}; choose one of these")
    return advantages


def normalized_returns(returns: FloatArray) -> FloatArray:
    """Returns with mean 0 and standard deviation 1 over all tokens of a batch (Hu 2025, arXiv:2501.03262).

    Args:
        returns: (N,).

    Returns:
        (N,); 0 where all returns are equal.
    """
    mean, std = returns.mean(), returns.std()
    if std <= _NO_SPREAD * max(_NO_SPREAD, abs(mean)):
        return np.zeros_like(returns)
    normalized: FloatArray = (returns - mean) / std
    return normalized


def _group_size(scores: FloatArray) -> int:
    """Return the size of the groups.

    Raises:
        ValueError: They are no groups of two texts or more.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"expected scores (G, k) of groups of 2 texts or more, got shape {scores.shape}")
    return int(scores.shape[1])
