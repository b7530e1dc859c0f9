"""The built-in corpus: short invented reports, summaries and drafts of them, and a score that knows the facts."""

from __future__ import annotations

from textgym.data.fingerprint import digest
from textgym.errors import DataError, did_you_mean
from textgym.tasks.summarization.reports.generator import Fact, Facts, make_item
from textgym.tasks.summarization.reports.keys import SIZES, facts, format_key, parse_key
from textgym.tasks.summarization.reports.scoring import GoldParts, gold, gold_parts, is_success
from textgym.types import SPLITS, Example, Split

__all__ = ["Fact", "Facts", "GoldParts", "Reports", "facts", "gold", "gold_parts", "is_success"]
_FEW = 40


class Reports:
    """Reports on councils, storms, companies, museums, races, courts and the like; none of them ever happened.

    An item is a pure function of (seed, split, index) and is made when it is asked for. The three splits share no
    combination of facts. ``references`` holds two editors' summaries; ``demonstrations`` one draft, which may leave
    facts out (65 %), ramble (80 %) and state a false fact (5 %), independently.

    Args:
        split: ``"train"`` (100,000 items), ``"validation"`` or ``"test"`` (2,000 each).
        seed: Which corpus; every seed gives other documents.

    Raises:
        DataError: The split is unknown or the seed is negative.
    """

    name = "reports"

    def __init__(self, split: Split = "train", seed: int = 0) -> None:
        if split not in SPLITS:
            raise DataError(
                f"expected a split of the built-in corpus, got {split!r}.{did_you_mean(str(split), SPLITS)}"
            )
        if seed < 0:
            raise DataError(f"expected a seed of at least 0, got {seed}; use a non-negative whole number")
        self.split: Split = split
        self.seed = seed

    def __len__(self) -> int:
        """Number of items of the split."""
        return SIZES[self.split]

    def __getitem__(self, index: int) -> Example:
        """The item at ``index``; negative indices count from the end.

        Raises:
            IndexError: There is no such item.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)} in split {self.split!r}, got {index}")
        index = int(index) % len(self)
        item = make_item(self.seed, self.split, index)
        key = format_key(self.seed, self.split, index)
        return Example(key, item.document, item.references, (item.draft,))

    def fingerprint(self) -> str:
        """Return which corpus this is: its seed, its size, and a digest of a few of its items, as they are made now."""
        few = range(0, len(self), len(self) // _FEW)
        return f"{len(self)} reports of seed {self.seed}, {_FEW} of them sha256 {digest(self[place] for place in few)}"

    def find(self, key: str) -> Example:
        """The item called ``key``.

        Raises:
            KeyError: The key names no item of this corpus and split.
        """
        place = parse_key(key)
        if (place.seed, place.split) != (self.seed, self.split):
            known = format_key(self.seed, self.split, place.position)
            raise KeyError(f"expected a key of this split such as {known!r}, got {key!r}; load split {place.split!r}")
        return self[place.position]
