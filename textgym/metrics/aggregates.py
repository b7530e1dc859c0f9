"""Aggregates of a few training runs: interquartile means, stratified bootstrap intervals, probability of improvement.

All of them are from Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021),
arXiv:2108.13264. What they call a task is a stratum here: the runs of one algorithm on one environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textgym.metrics.intervals import Numbers
from textgym.types import FloatArray, Interval

Strata = Sequence[Numbers]
"""Scores of the runs of one algorithm, a list for every environment; the lists may differ in length."""
RESAMPLES = 10_000
_LEFT_OUT = 0.25
_BOUNDS = (0.025, 0.975)


def interquartile_mean(strata: Strata) -> float:
    """Return the mean of the middle half of all scores: a quarter of them, rounded down, is left out at either end.

    It is as robust as the median against single runs, and uses more of the others. Of 5 runs the best and the worst are
    left out, of 3 none is.

    Args:
        strata: Scores, a list for every environment.

    Raises:
        ValueError: There is no score, or one is not finite.

    >>> interquartile_mean([[0.0, 1.0, 2.0, 3.0, 100.0]])
    2.0
    """
    return float(_interquartile_means(np.concatenate(_checked(strata))))


def interquartile_mean_interval(strata: Strata, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the interquartile mean with its 95 % interval, by percentiles of the stratified bootstrap.

    Runs are drawn again within every environment, as many as there are. The interval holds for the runs that another
    experimenter would have made. Of few runs it is too short: of normally distributed scores on one environment, it
    covers the truth in 73 % of all cases with 3 runs, in 90 % with 5, in 93 % with 10 (each of 3,000 simulations).

    Args:
        strata: Scores, a list for every environment.
        resamples: Number of bootstrap samples.
        seed: Seed of their draws.

    Returns:
        The interval; of a single run its bounds are infinite.

    Raises:
        ValueError: As :func:`interquartile_mean`.
    """
    known = _checked(strata)
    mean = float(_interquartile_means(np.concatenate(known)))
    if max(map(len, known)) < 2:
        return Interval(mean, -np.inf, np.inf)
    drawn = np.concatenate(_resampled(known, resamples, np.random.default_rng(seed)), axis=1)  # (R, runs)
    return _interval(mean, _interquartile_means(drawn))


class Band(NamedTuple):
    """A curve of interquartile means with its 95 % intervals, each of shape ``(G,)``."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray


def interquartile_mean_band(curves: FloatArray, *, resamples: int = 2_000, seed: int = 0) -> Band:
    """Return the interquartile mean of the curves of several runs at every point, with its 95 % interval there.

    Whole curves are drawn again in the bootstrap. The intervals are those of single points: a curve of other runs lies
    within all of them less often.

    Args:
        curves: Finite numbers of shape ``(runs, G)``, a row for every run on one environment.
        resamples: Number of bootstrap samples.
        seed: Seed of their draws.

    Returns:
        The band; of a single run it has no width.

    Raises:
        ValueError: There is no curve.
    """
    if curves.ndim != 2 or not curves.size:
        raise ValueError(f"expected curves of shape (runs, G), got shape {curves.shape}; give a row for each run")
    rows = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    drawn = _interquartile_means(np.moveaxis(curves[rows], 1, -1))  # (R, G)
    low, high = np.quantile(drawn, _BOUNDS, axis=0)
    mean = _interquartile_means(curves.T)
    return Band(mean, np.minimum(low, mean), np.maximum(high, mean))


def probability_of_improvement(first: Strata, second: Strata, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return how likely a run of one algorithm scores more than a run of another, with its 95 % interval.

    On one environment it is the share of pairs of runs, one of either algorithm, of which the first scores more; equal
    scores count half (the statistic of Mann and Whitney). Of several environments the mean is taken. 0.5 means that
    neither is better; how much better one is, it does not say.

    Args:
        first: Scores of one algorithm, a list for every environment.
        second: Scores of the other on the same environments, in the same order.
        resamples: Number of bootstrap samples, in which runs of both are drawn again within every environment.
        seed: Seed of their draws.

    Returns:
        The probability, with percentiles of the bootstrap; of single runs its bounds are 0 and 1. Where all runs of one
        score more than all of the other, the interval has no width: it says nothing about further runs then.

    Raises:
        ValueError: There are not as many environments of both; otherwise as :func:`interquartile_mean`.
    """
    if len(first) != len(second):
        raise ValueError(
            f"expected scores of both algorithms on the same environments, got {len(first)} and {len(second)} lists; "
            "give one list for each"
        )
    ours, theirs = _checked(first), _checked(second)
    better = [_shares_better(one[None], other[None]) for one, other in zip(ours, theirs, strict=True)]
    if min(max(map(len, side)) for side in (ours, theirs)) < 2:
        return Interval(float(np.mean(better)), 0.0, 1.0)
    rng = np.random.default_rng(seed)
    drawn = zip(_resampled(ours, resamples, rng), _resampled(theirs, resamples, rng), strict=True)
    shares = np.mean([_shares_better(one, other) for one, other in drawn], axis=0)  # (R,)
    return _interval(float(np.mean(better)), shares)


def _interquartile_means(scores: FloatArray) -> FloatArray:
    """Return the interquartile means over the last axis."""
    runs = scores.shape[-1]
    cut = int(_LEFT_OUT * runs)
    means: FloatArray = np.sort(scores, axis=-1)[..., cut : runs - cut].mean(axis=-1)
    return means


def _shares_better(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the share of pairs of which the first is larger, equal ones counting half: (R, n) and (R, m) to (R,)."""
    signs = np.sign(first[:, :, None] - second[:, None, :])  # (R, n, m)
    shares: FloatArray = 0.5 + 0.5 * signs.mean(axis=(1, 2))
    return shares


def _resampled(strata: Sequence[FloatArray], resamples: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return samples of every stratum with replacement, each (R, n)."""
    return [scores[rng.integers(len(scores), size=(resamples, len(scores)))] for scores in strata]


def _interval(mean: float, drawn: FloatArray) -> Interval:
    low, high = (float(bound) for bound in np.quantile(drawn, _BOUNDS))
    return Interval(mean, min(low, mean), max(high, mean))


def _checked(strata: Strata) -> list[FloatArray]:
    known = [np.asarray(scores, dtype=np.float64) for scores in strata]
    if not known or any(scores.ndim != 1 or not len(scores) for scores in known):
        shapes = ", ".join(str(scores.shape) for scores in known) or "none"
        raise ValueError(f"expected a list of scores for every environment, got shapes {shapes}; give at least one")
    if not all(np.isfinite(scores).all() for scores in known):
        raise ValueError("expected finite scores, got others among them; leave out the runs that have none")
    return known
