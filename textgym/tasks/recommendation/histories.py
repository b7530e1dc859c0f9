"""Examples out of a table of ratings: some of a user's ratings are the history, the next ones the catalogue."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from textgym.data.dataset import InMemoryDataset, prompt_digest
from textgym.data.ratings import Rating, RatingsTable, by_user
from textgym.errors import DataError
from textgym.tasks.recommendation.generator import ask
from textgym.types import Example, Split

HISTORY, CANDIDATES, MOST = 6, 4, 10
"""Ratings shown, ratings held out, and examples per user at most."""
INDIFFERENT = 3.0
"""Stars that count as a preference of 0."""


def histories(table: RatingsTable, split: Split) -> InMemoryDataset:
    """Return the examples of the users of a split.

    Raises:
        DataError: No user of the split has enough ratings.
    """
    users = by_user(rating for rating in table.ratings if rating.split == split)
    examples = list(itertools.chain.from_iterable(map(_examples, itertools.repeat(table.name), users.values())))
    if not examples:
        raise DataError(
            f"expected users with {HISTORY + CANDIDATES} ratings in the {split} split of {table.name!r}, got none; "
            "users are split 80/10/10 by a hash: add ratings"
        )
    return InMemoryDataset(table.name, split, examples, table.report)


def _examples(name: str, ratings: Sequence[Rating]) -> Iterator[Example]:
    """Yield the examples of one user: runs of ratings in the order in which they were given."""
    size = HISTORY + CANDIDATES
    starts = range(0, len(ratings) - size + 1, size)[:MOST]
    for start in starts:
        seen, held_out = ratings[start : start + HISTORY], ratings[start + HISTORY : start + size]
        if len({rating.stars for rating in held_out}) > 1:
            yield _example(f"{name}/{prompt_digest(f'{ratings[0].user}/{start}')}", seen, held_out)


def _example(key: str, seen: Sequence[Rating], held_out: Sequence[Rating]) -> Example:
    weights = _weights(seen)
    best = max(rating.stars for rating in held_out)
    extra = {
        "catalogue": ask(1, [_row(rating) for rating in held_out]),
        "count": 1,
        "items": {rating.title: list(rating.attributes) for rating in held_out},
        "seen": [rating.title for rating in seen],
        "weights": weights,
        "preferences": {rating.title: rating.stars - INDIFFERENT for rating in held_out},
        "user": seen[0].user,
    }
    references = tuple(_reference(rating, weights) for rating in held_out if rating.stars == best)
    return Example(key, "\n".join(f"{rating.stars:g} {_row(rating)}" for rating in seen), references, extra=extra)


def _row(rating: Rating) -> str:
    return f"{rating.title}: {', '.join(rating.attributes)}" if rating.attributes else rating.title


def _reference(rating: Rating, weights: Mapping[str, float]) -> str:
    reason = max(rating.attributes, key=lambda attribute: weights.get(attribute, 0.0), default="")
    matters = weights.get(reason, 0.0) > 0
    return f"{rating.title}, because you like {reason}." if matters else f"{rating.title}."


def _weights(seen: Sequence[Rating]) -> dict[str, float]:
    """Return by how much the ratings of each attribute are above the mean of the history."""
    mean = fmean(rating.stars for rating in seen)
    attributes = dict.fromkeys(attribute for rating in seen for attribute in rating.attributes)
    return {
        attribute: round(fmean(each.stars for each in seen if attribute in each.attributes) - mean, 6)
        for attribute in attributes
    }
