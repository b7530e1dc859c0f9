"""Measures of recommendations: nDCG of a ranking, click-through rate, regret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.metrics.intervals import Clusters, Numbers, mean_interval
from textgym.types import FloatArray, Interval


def ndcg(gains: Numbers, *, k: int | None = None, among: Numbers | None = None, exponential: bool = True) -> float:
    """Return the normalized discounted cumulative gain of a ranking, in ``[0, 1]``; higher is better.

    >>> round(ndcg([3, 2, 3, 0, 1, 2]), 4), round(ndcg([3, 2, 3, 0, 1, 2], exponential=False), 4)
    (0.9488, 0.9608)

    Args:
        gains: Relevance of the items in the order in which they are shown, 0 or above.
        k: Number of places that count; ``None`` for all.
        among: Relevance of all items that could have been shown, in any order, where these are more than those shown.
        exponential: Whether an item of relevance g counts ``2**g - 1``, as in web search, or g.

    Returns:
        The gain, each divided by ``log2(place + 1)``, as a share of that of the best ranking; 0 if nothing is relevant.

    Raises:
        ValueError: A relevance is negative or not finite, ``k`` is below 1, or the ranking is better than the best one,
            as ``among`` lacks items of it.

    References:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002); Burges et al., "Learning to
        rank using gradient descent" (2005), for the exponential gain.
    """
    if k is not None and k < 1:
        raise ValueError(f"expected at least 1 place that counts, got k={k}")
    shown, known = _gains(gains, exponential), _gains(gains if among is None else among, exponential)
    best = _discounted(np.sort(known)[::-1], k)
    reached = _discounted(shown, k)
    if reached > best * (1 + 1e-12):
        raise ValueError("expected every item of the ranking in among, got a ranking better than the best of among")
    return min(1.0, reached / best) if best else 0.0


def click_through(
    clicks: Numbers, clusters: Clusters | None = None, *, propensities: Numbers | None = None
) -> Interval:
    """Return the click-through rate, the share of shown items that were clicked, with its 95 % interval.

    Args:
        clicks: 1 for each shown item that was clicked, else 0, shape ``(n,)``.
        clusters: User, or prompt, of each item: as in :func:`~textgym.metrics.intervals.mean_interval`.
        propensities: Probability that somebody looks at the place of each item, in (0, 1]. With them a click counts
            ``1 / propensity``, so that the mean is the rate there would be if all were looked at.

    Raises:
        ValueError: A click is neither 0 nor 1, a propensity is not in (0, 1], or the lengths differ.

    References:
        Joachims et al., "Unbiased learning-to-rank with biased feedback" (2017), for the propensities.
    """
    found = np.asarray(clicks, dtype=np.float64)
    if not np.isin(found, (0.0, 1.0)).all():
        raise ValueError("expected 1 for every click and 0 for none, got other numbers; count each item once")
    if propensities is None:
        return mean_interval(found, clusters, share=True)
    looked = np.asarray(propensities, dtype=np.float64)
    if looked.shape != found.shape or not ((looked > 0) & (looked <= 1)).all():
        raise ValueError(
            f"expected {len(found)} probabilities in (0, 1] as propensities, got {looked.shape} from "
            f"{looked.min(initial=1.0)} to {looked.max(initial=0.0)}; give the probability that a place is looked at"
        )
    return mean_interval(found / looked, clusters, share=False)


def regret(values: Numbers, best: Numbers) -> FloatArray:
    """Return how much less was chosen than could have been, 0 or above, shape ``(n,)``; its sum is the total regret.

    >>> regret([0.2, 0.9], [0.8, 0.9]).round(2).tolist()
    [0.6, 0.0]

    Args:
        values: True value of each choice.
        best: True value of the best choice there was.

    Raises:
        ValueError: The lengths differ, or a choice is better than the best one.

    References:
        Lai and Robbins, "Asymptotically efficient adaptive allocation rules" (1985).
    """
    chosen, top = np.asarray(values, dtype=np.float64), np.asarray(best, dtype=np.float64)
    if chosen.shape != top.shape:
        raise ValueError(f"expected one best value per choice, got {top.shape} for {chosen.shape}")
    if (chosen > top + 1e-9).any():
        place = int(np.flatnonzero(chosen > top + 1e-9)[0])
        raise ValueError(f"expected a best value of at least {chosen[place]} at index {place}, got {top[place]}")
    lost: FloatArray = np.maximum(0.0, top - chosen)
    return lost


def _gains(relevance: Numbers | Sequence[float], exponential: bool) -> FloatArray:
    numbers = np.asarray(relevance, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all() or (numbers < 0).any():
        raise ValueError("expected a flat list of finite relevances of 0 or above, got another; leave out unknown ones")
    gains: FloatArray = 2.0**numbers - 1 if exponential else numbers
    return gains


def _discounted(gains: FloatArray, k: int | None) -> float:
    first = gains[:k]
    return float(first @ (1 / np.log2(np.arange(2, len(first) + 2))))
