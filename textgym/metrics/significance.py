"""A test of whether two systems differ, on texts about the same prompts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from textgym.metrics.intervals import Numbers, paired_difference_interval
from textgym.types import FloatArray, Interval

_ALL_UP_TO = 13  # prompts: 8,192 ways of exchanging the systems
_AT_ONCE = 2**20  # signs, 8 MB
_ROUNDING = 1e-9  # of sums that are equal but for the order in which they are added


class PairedTest(NamedTuple):
    """The outcome of :func:`paired_test`.

    Attributes:
        difference: Mean of ``first - second`` with its 95 % interval.
        p_value: Probability of a mean difference at least as large, in either direction, if the systems were alike.
        prompts: Number of prompts, whose pairs are exchanged together.
    """

    difference: Interval
    p_value: float
    prompts: int


def paired_test(
    first: Numbers,
    second: Numbers,
    prompts: Sequence[Hashable] | None = None,
    *,
    permutations: int = 9999,
    seed: int = 0,
    share: bool | None = None,
) -> PairedTest:
    """Test whether two systems have the same mean, by a permutation test that exchanges them prompt by prompt.

    If the systems are alike, which one wrote which text to a prompt does not matter: exchanging them changes the sign
    of the prompt's difference. The p-value is the share of all exchanges that give at least the observed difference.
    Nothing is assumed about how the numbers are distributed; all texts to one prompt are exchanged together.

    Args:
        first: Numbers of one system, shape ``(n,)``.
        second: Numbers of the other about the same items in the same order, shape ``(n,)``.
        prompts: Key of each item's prompt, shape ``(n,)``. ``None``: every item has its own.
        permutations: Number of random exchanges where there are more than 13 prompts; up to there all are counted.
        seed: Seed of the random exchanges.
        share: As of :func:`~textgym.metrics.intervals.paired_difference_interval`.

    Returns:
        The difference, the p-value, above 0, and the number of prompts. Of k prompts with one text each the p-value is
        at least ``2 / 2**k``: five cannot show anything at the level of 0.05.

    Raises:
        ValueError: The lengths differ, there is no number, one is not finite, or ``permutations`` is below 1.

    References:
        Fisher, "The design of experiments" (1935), section 21; Phipson and Smyth, "Permutation p-values should never be
        zero" (2010); for texts Riezler and Maxwell, "On some pitfalls in automatic evaluation and significance testing
        for MT" (2005).
    """
    if permutations < 1:
        raise ValueError(f"expected at least 1 permutation, got {permutations}; leave it out for 9,999")
    interval = paired_difference_interval(first, second, prompts, share=share)
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    keys = range(len(differences)) if prompts is None else prompts
    sums = _sums(differences, keys)
    return PairedTest(interval, _p_value(sums, permutations, seed), len(sums))


def _sums(differences: FloatArray, keys: Sequence[Hashable]) -> FloatArray:
    """Return the sum of every prompt's differences, shape (G,)."""
    places: dict[Hashable, int] = {}
    rows = [places.setdefault(key, len(places)) for key in keys]
    return np.bincount(rows, weights=differences).astype(np.float64)


def _p_value(sums: FloatArray, permutations: int, seed: int) -> float:
    largest = float(np.abs(sums).max())
    if not largest:
        return 1.0
    sums = sums[sums != 0] / largest  # exchanging equal texts changes nothing
    observed = abs(float(sums.sum())) - _ROUNDING * len(sums)
    if len(sums) <= _ALL_UP_TO:
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs(_signed(bits, sums)) >= observed).mean())
    rng, at_least = np.random.default_rng(seed), 0
    step = max(1, _AT_ONCE // len(sums))
    for start in range(0, permutations, step):
        bits = rng.integers(0, 2, (min(step, permutations - start), len(sums)))
        at_least += int((np.abs(_signed(bits, sums)) >= observed).sum())
    return (1 + at_least) / (1 + permutations)  # what was observed is one of the exchanges


def _signed(bits: npt.NDArray[np.int64], sums: FloatArray) -> FloatArray:
    """Return the sum for each row of bits, which say whose sign is changed; shape (P,)."""
    totals: FloatArray = (1 - 2 * bits) @ sums
    return totals
