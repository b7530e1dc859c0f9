"""The baseline of predicted ratings: the mean of all, and what users and items add to it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Self

import numpy as np

from textgym.metrics.intervals import Numbers
from textgym.types import FloatArray


class RatingMeans:
    """The mean of ratings plus what an item and a user add to it.

    Both are means of what the rest leaves over, shrunk towards 0 by ``shrinkage`` ratings that would be as expected;
    items come first, and every pass computes each given the other. Whoever or whatever is not known adds
    nothing.

    Example:
        >>> means = RatingMeans.fit(["ann", "ann", "bob", "bob"], ["x", "y", "x", "y"], [5, 3, 4, 2], shrinkage=0)
        >>> means.mean, means.predict(["ann", "bob", "eve"], ["x", "y", "x"]).tolist()
        (3.5, [5.0, 2.0, 4.5])

    References:
        Koren, "Factorization meets the neighborhood" (2008), section 2.1: baseline estimates.
    """

    def __init__(self, mean: float, items: Mapping[Hashable, float], users: Mapping[Hashable, float]) -> None:
        self.mean, self.items, self.users = mean, items, users

    @classmethod
    def fit(
        cls,
        users: Sequence[Hashable],
        items: Sequence[Hashable],
        ratings: Numbers,
        *,
        shrinkage: float = 5.0,
        passes: int = 3,
    ) -> Self:
        """Fit the means of ratings; ``users``, ``items`` and ``ratings`` have shape ``(n,)``.

        Raises:
            ValueError: The lengths differ, or there is no rating.
        """
        given = np.asarray(ratings, dtype=np.float64)
        if not (len(users) == len(items) == len(given) > 0):
            raise ValueError(
                f"expected as many users and items as ratings, at least one, got {len(users)}, {len(items)} and "
                f"{len(given)}; give one of each for every rating"
            )
        mean = float(given.mean())
        of_users: dict[Hashable, float] = dict.fromkeys(users, 0.0)
        for _ in range(max(1, passes)):
            of_items = _shrunk(items, given - mean - [of_users[user] for user in users], shrinkage)
            of_users = _shrunk(users, given - mean - [of_items[item] for item in items], shrinkage)
        return cls(mean, of_items, of_users)

    def predict(self, users: Sequence[Hashable], items: Sequence[Hashable]) -> FloatArray:
        """Return the predicted ratings of ``n`` pairs, shape ``(n,)``."""
        pairs = zip(users, items, strict=True)
        return np.array([self.mean + self.items.get(item, 0.0) + self.users.get(user, 0.0) for user, item in pairs])


def rmse(predicted: Numbers, true: Numbers) -> float:
    """Return the root of the mean squared error.

    >>> rmse([3, 5], [4, 4])
    1.0

    Raises:
        ValueError: The lengths differ, or there is no number.
    """
    first, second = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if first.shape != second.shape or not first.size:
        raise ValueError(f"expected one prediction per rating, got shapes {first.shape} and {second.shape}")
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _shrunk(names: Sequence[Hashable], values: FloatArray, shrinkage: float) -> dict[Hashable, float]:
    """Return the mean of the values of each name, as if it had so many more values of 0."""
    sums: dict[Hashable, float] = {}
    counts: dict[Hashable, int] = {}
    for name, value in zip(names, values.tolist(), strict=True):
        sums[name], counts[name] = sums.get(name, 0.0) + value, counts.get(name, 0) + 1
    return {name: total / (counts[name] + shrinkage) for name, total in sums.items()}
