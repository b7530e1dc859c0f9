"""Best-of-n in closed form: what the best of n samples is distributed like, and how far it is from one sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from textgym.types import FloatArray

Numbers = Sequence[float] | FloatArray


def best_of_n_law(probabilities: Numbers, rewards: Numbers, n: int) -> FloatArray:
    """Return the probability of every outcome to be the best of ``n`` samples, shape ``(m,)``.

    With F(r) the probability of a reward of at most r: F(r)^n - F(r-)^n, of which outcomes with equal rewards get
    shares in proportion to their probabilities.

    >>> best_of_n_law([0.5, 0.5], [0.0, 1.0], 2).tolist()
    [0.25, 0.75]

    Args:
        probabilities: Those of the ``m`` outcomes, positive, with sum 1.
        rewards: Reward of each.
        n: Number of samples.

    Raises:
        ValueError: There are not as many rewards, a probability is not positive, their sum is not 1, or ``n`` is below
            1.

    References:
        Beirami et al. (2024), arXiv:2401.01879.
    """
    p, r = np.asarray(probabilities, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    if p.shape != r.shape or p.ndim != 1 or not (p > 0).all() or not math.isclose(p.sum(), 1.0, abs_tol=1e-9) or n < 1:
        raise ValueError(
            f"expected positive probabilities with sum 1, as many rewards, and n of at least 1, got shapes {p.shape} "
            f"and {r.shape}, the sum {p.sum()} and n={n}; correct them"
        )
    _, level = np.unique(r, return_inverse=True)  # (m,) rank of each reward
    mass = np.bincount(level, p)
    at_most = np.cumsum(mass)
    return p / mass[level] * (at_most**n - (at_most - mass) ** n)[level]


def best_of_n_kl(probabilities: Numbers, rewards: Numbers, n: int) -> float:
    """Return the KL of the best of ``n`` samples to one sample, in nats; arguments as of :func:`best_of_n_law`."""
    p, best = np.asarray(probabilities, dtype=np.float64), best_of_n_law(probabilities, rewards, n)
    return float(sum(q * math.log(q / each) for q, each in zip(best, p, strict=True) if q > 0))


def best_of_n_kl_bound(n: int) -> float:
    """Return the largest KL that best-of-n can have, whatever the rewards: ``log n - (n - 1) / n`` nats.

    It is reached where all rewards are different and every outcome is rare, as with continuous rewards.

    >>> round(best_of_n_kl_bound(4), 3)
    0.636

    Raises:
        ValueError: ``n`` is below 1.

    References:
        Beirami et al. (2024), arXiv:2401.01879.
    """
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}; a text has to be sampled")
    return math.log(n) - (n - 1) / n


def best_of_n_win_rate_bound(n: int) -> float:
    """Return the largest chance that the best of ``n`` samples beats one more sample: ``n / (n + 1)``.

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}; a text has to be sampled")
    return n / (n + 1)
