"""Keys of the built-in corpus: ``reports/train/17``, or ``reports@3/train/17`` for the corpus of seed 3."""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from textgym.errors import did_you_mean
from textgym.tasks.summarization.reports.generator import Facts, draw_facts
from textgym.types import SPLITS, Example, Split

SIZES: dict[Split, int] = {"train": 100_000, "validation": 2_000, "test": 2_000}
_KEY = re.compile(r"reports(?:@(\d+))?/(\w+)/(\d+)")


class Place(NamedTuple):
    """Where an item is: the corpus' seed, the split and the position in it."""

    seed: int
    split: Split
    position: int


def format_key(seed: int, split: Split, index: int) -> str:
    """The key of an item.

    >>> format_key(0, "train", 17), format_key(3, "test", 0)
    ('reports/train/17', 'reports@3/test/0')
    """
    return f"reports{f'@{seed}' if seed else ''}/{split}/{index}"


def parse_key(key: str) -> Place:
    """The inverse of :func:`format_key`.

    Raises:
        KeyError: ``key`` names no item.
    """
    found = _KEY.fullmatch(key)
    if found is None:
        raise KeyError(f"expected a key such as 'reports/train/17', got {key!r}; use the key of an example")
    if found[2] not in SPLITS:
        raise KeyError(f"expected a split in the key, got {key!r}.{did_you_mean(found[2], SPLITS)}")
    split, index = cast(Split, found[2]), int(found[3])
    if index >= SIZES[split]:
        raise KeyError(f"expected an index below {SIZES[split]} in split {split!r}, got {key!r}; use a smaller index")
    return Place(int(found[1] or 0), split, index)


def facts(item: str | Example) -> Facts:
    """Regenerate the facts of an item from its key (nothing in an :class:`~textgym.types.Example` holds them).

    Raises:
        KeyError: The key names no item of the corpus.
    """
    return draw_facts(*parse_key(item if isinstance(item, str) else item.key))
