"""Corpora that are made up: every item is a pure function of seed, split and position."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from textgym.data.draws import Draws
from textgym.data.fingerprint import digest
from textgym.errors import DataError, did_you_mean
from textgym.text.plurals import counted
from textgym.types import SPLITS, Example, Shown, Split

SIZES: Mapping[Split, int] = {"train": 100_000, "validation": 2_000, "test": 2_000}
"""Number of items of each split, where a corpus names no others."""
# Of ten buckets of identities, the training split owns eight, so no identity is in two splits.
BUCKETS: Mapping[Split, range] = {"train": range(0, 8), "validation": range(8, 9), "test": range(9, 10)}
_KEY = re.compile(r"(?P<name>[^@/]+)(?:@(?P<seed>\d+))?/(?P<split>\w+)/(?P<position>\d+)")
_FEW = 40
_MOST_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a generated corpus.

    Attributes:
        identity: Name of its content, such as its facts in a row: no two splits share an identity.
        prompt, references, demonstrations, extra: As of an :class:`~textgym.types.Example`. What the true quality of a
            text is computed from stands in ``extra``, as JSON values.
    """

    identity: str
    prompt: Shown
    references: tuple[str, ...] = ()
    demonstrations: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


Make = Callable[[int, Split, int], Item]
"""Seed, split and position -> the item there, always the same."""


class Place(NamedTuple):
    """The place of an item: the seed of its corpus, the split and the position in it."""

    seed: int
    split: Split
    position: int


def owns(split: Split, identity: str) -> bool:
    """Return whether a split may have an item of this identity; exactly one of the three may."""
    return zlib.crc32(identity.encode()) % 10 in BUCKETS[split]


def draws_of(seed: int, split: Split, position: int) -> Draws:
    """Return the source of choices of one item."""
    return Draws(np.random.default_rng([seed, SPLITS.index(split), position]))


class GeneratedDataset:
    """One split of a corpus whose items are made when they are asked for.

    Example:
        >>> def compose(draws):
        ...     first, second = draws.whole(1, 99), draws.whole(1, 99)
        ...     return Item(f"{first}+{second}", f"{first} + {second} =", (str(first + second),))
        >>> GeneratedDataset("sums", "test", composed(compose))[0].key
        'sums/test/0'

    Args:
        name: Name of the corpus; the keys of its items begin with it. Another difficulty is another corpus, with a name
            of its own.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        make: Makes the item of a seed, a split and a position; :func:`composed` returns one.
        sizes: Number of items of each split.
        seed: Seed of the corpus; every seed gives other items.

    Raises:
        DataError: The split is unknown or the seed is negative.
    """

    def __init__(
        self,
        name: str,
        split: Split,
        make: Make,
        *,
        sizes: Mapping[Split, int] = SIZES,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise DataError(
                f"expected a split of the built-in corpus, got {split!r}.{did_you_mean(str(split), SPLITS)}"
            )
        if seed < 0:
            raise DataError(f"expected a seed of at least 0, got {seed}; use a non-negative whole number")
        self.name, self.split, self.seed = name, split, seed
        self._make, self._sizes = make, sizes

    def __len__(self) -> int:
        """Return the number of items of the split."""
        return self._sizes[self.split]

    def __getitem__(self, index: int) -> Example:
        """Return the item at ``index``; negative indices count from the end.

        Raises:
            IndexError: There is no such item.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)} in split {self.split!r}, got {index}")
        position = int(index) % len(self)
        made = self._make(self.seed, self.split, position)
        key = format_key(self.name, self.seed, self.split, position)
        return Example(key, made.prompt, made.references, made.demonstrations, made.extra)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.split!r}, {counted(len(self), 'examples')})"

    def fingerprint(self) -> str:
        """Return which corpus this is: its seed, its size, and a digest of a few of its items, as they are made now."""
        few = range(0, len(self), max(1, len(self) // _FEW))
        shown = f"{len(self)} {self.name} of seed {self.seed}"
        return f"{shown}, {len(few)} of them sha256 {digest(self[place] for place in few)}"

    def find(self, key: str) -> Example:
        """Return the item called ``key``.

        Raises:
            KeyError: The key names no item of this corpus and split.
        """
        place = parse_key(self.name, key, self._sizes)
        if (place.seed, place.split) != (self.seed, self.split):
            known = format_key(self.name, self.seed, self.split, place.position)
            raise KeyError(f"expected a key of this split such as {known!r}, got {key!r}; load split {place.split!r}")
        return self[place.position]


def composed(compose: Callable[[Draws], Item]) -> Make:
    """Return what makes the items of a corpus from random choices.

    Args:
        compose: Makes an item of random choices. It is called again until the split owns the identity of the item.
    """

    def make(seed: int, split: Split, position: int) -> Item:
        draws = draws_of(seed, split, position)
        for _ in range(_MOST_DRAWS):
            made = compose(draws)
            if owns(split, made.identity):
                return made
        raise DataError(
            f"expected items for the split {split!r}, got {_MOST_DRAWS:,} of other splits, such as "
            f"{made.identity!r:.80}; make their identities more various"
        )

    return make


def format_key(name: str, seed: int, split: Split, position: int) -> str:
    """Return the key of an item.

    >>> format_key("reports", 0, "train", 17), format_key("reports", 3, "test", 0)
    ('reports/train/17', 'reports@3/test/0')
    """
    return f"{name}{f'@{seed}' if seed else ''}/{split}/{position}"


def parse_key(name: str, key: str, sizes: Mapping[Split, int] = SIZES) -> Place:
    """Return where the item of a key is: the inverse of :func:`format_key`.

    Raises:
        KeyError: ``key`` names no item of the corpus.
    """
    found = _KEY.fullmatch(key)
    if found is None or found["name"] != name:
        raise KeyError(f"expected a key such as '{name}/train/17', got {key!r}; use the key of an example")
    if found["split"] not in SPLITS:
        raise KeyError(f"expected a split in the key, got {key!r}.{did_you_mean(found['split'], SPLITS)}")
    split, position = cast(Split, found["split"]), int(found["position"])
    if position >= sizes[split]:
        raise KeyError(f"expected an index below {sizes[split]} in split {split!r}, got {key!r}; use a smaller index")
    return Place(int(found["seed"] or 0), split, position)


def name_of_level(name: str, level: str, default: str) -> str:
    """Return the name of a corpus at a level of difficulty; the default level is not named.

    >>> name_of_level("passages", "hard", "medium"), name_of_level("passages", "medium", "medium")
    ('passages-hard', 'passages')
    """
    return name if level == default else f"{name}-{level}"


def joined(values: Sequence[object]) -> str:
    """Return the identity that values make together."""
    return "|".join(map(str, values))
