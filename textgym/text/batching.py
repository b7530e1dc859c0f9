"""Batches of rows of similar length, so that little padding is computed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def length_batches(
    lengths: Sequence[int],
    max_tokens: int | None = None,
    max_rows: int | None = None,
    *,
    longest_first: bool = True,
    even: bool = False,
    costs: Sequence[int] | None = None,
) -> list[list[int]]:
    """Group rows of similar length into batches; every row is in exactly one.

    Rows are sorted by length, those of one length by index, and taken in that order.

    >>> length_batches([3, 9, 4, 2], max_tokens=9)
    [[1], [2, 0], [3]]
    >>> length_batches([3, 9, 4, 2, 1], max_rows=4, longest_first=False, even=True)
    [[4, 3, 0], [2, 1]]

    Args:
        lengths: Number of tokens of each row.
        max_tokens: Most tokens of a batch, padding included; a row that is longer is a batch by itself.
        max_rows: Most rows of a batch.
        longest_first: Whether the longest rows come first, or last.
        costs: Cost of each row towards ``max_tokens``, if not its length with padding.
        even: Spread the rows evenly over as few batches as ``max_rows`` allows, instead of filling one after another.

    Raises:
        ValueError: A limit is below 1, or ``even`` comes without ``max_rows`` or with ``max_tokens``.
    """
    for name, limit in (("max_tokens", max_tokens), ("max_rows", max_rows)):
        if limit is not None and limit < 1:
            raise ValueError(f"expected {name} of at least 1, got {limit}; raise it, or leave it out")
    sign = -1 if longest_first else 1
    order = sorted(range(len(lengths)), key=lambda row: sign * lengths[row])
    if even:
        if max_rows is None or max_tokens is not None:
            raise ValueError("expected max_rows alone with even=True, got other limits; give max_rows only")
        return _split_evenly(order, -(-len(order) // max_rows))
    batches: list[list[int]] = []
    cost = 0
    for row in order:
        batch = batches[-1] if batches else []
        if costs is None:
            cost = (len(batch) + 1) * (lengths[batch[0]] if batch and longest_first else lengths[row])
        else:
            cost += costs[row]
        full = len(batch) == max_rows or (max_tokens is not None and cost > max_tokens)
        if batch and not full:
            batch.append(row)
        else:
            batches.append([row])
            cost = 0 if costs is None else costs[row]
    return batches


def _split_evenly(order: Sequence[int], parts: int) -> list[list[int]]:
    """Split a list into parts whose sizes differ by at most one, larger ones first."""
    small, larger = divmod(len(order), parts) if parts else (0, 0)
    starts = [part * small + min(part, larger) for part in range(parts + 1)]
    return [list(order[start:stop]) for start, stop in itertools.pairwise(starts)]
