"""95 % confidence intervals of means, differences of means, and proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from textgym.types import FloatArray, Interval

Numbers = Sequence[float] | npt.NDArray[np.floating]

# 97.5 % quantiles of Student's t for 1..30 degrees of freedom, and of the normal distribution.
_T = (
    *(12.70620, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272),
)
_Z = 1.959963984540054


def mean_interval(values: Numbers) -> Interval:
    """Mean of independent ``values`` with its 95 % interval by Student's t.

    Args:
        values: Numbers, shape ``(n,)``, ``n >= 1``.

    Returns:
        The interval. A single value says nothing about spread: its bounds are infinite.

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    numbers = _finite(values)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, -math.inf, math.inf)
    half = _t_quantile(len(numbers) - 1) * float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    return Interval(mean, mean - half, mean + half)


def paired_difference_interval(first: Numbers, second: Numbers) -> Interval:
    """Mean of ``first - second`` with its 95 % interval, where ``first[i]`` and ``second[i]`` belong together.

    Pairing takes the spread between items out: two agents judged on the same documents differ by less noise.

    Args:
        first: Numbers, shape ``(n,)``.
        second: Numbers of the same items in the same order, shape ``(n,)``.

    Returns:
        The interval of the mean difference.

    Raises:
        ValueError: If the lengths differ, there is no value, or one is not finite.
    """
    if len(first) != len(second):
        raise ValueError(
            f"expected two paired lists of one length, got {len(first)} and {len(second)} values; "
            "score both on the same items in the same order"
        )
    return mean_interval(_finite(first) - _finite(second))


def proportion_interval(successes: float, n: int) -> Interval:
    """Proportion ``successes / n`` with its 95 % interval by Wilson's score.

    Args:
        successes: How often it happened; halves are fine (a draw counts as half a success).
        n: How often it was tried. With ``n = 0`` nothing is known: ``Interval(0.5, 0, 1)``, the limit of the formula.

    Returns:
        The observed proportion and bounds inside ``[0, 1]``.

    Raises:
        ValueError: If not ``0 <= successes <= n``.

    References:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, got {successes} successes of {n}; check the counts")
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    proportion, penalty = successes / n, _Z**2 / n
    centre = (proportion + penalty / 2) / (1 + penalty)
    half = _Z * math.sqrt(proportion * (1 - proportion) / n + penalty / (4 * n)) / (1 + penalty)
    return Interval(proportion, min(proportion, max(0.0, centre - half)), max(proportion, min(1.0, centre + half)))


def _finite(values: Numbers) -> FloatArray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"expected at least one number in a flat list, got shape {numbers.shape}; give it values")
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(f"expected finite numbers, got {numbers[place]} at index {place}; leave it out or mend it")
    return numbers


def _t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t; beyond the table by the Cornish-Fisher expansion (error below 1e-6)."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    first = (_Z**3 + _Z) / (4 * degrees)
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * degrees**2)
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / (384 * degrees**3)
    return _Z + first + second + third
