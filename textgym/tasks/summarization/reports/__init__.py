"""The built-in corpus: short invented reports, summaries and drafts of them, and a score that knows the facts."""

from __future__ import annotations

from textgym.data.generated import GeneratedDataset, Item
from textgym.tasks.summarization.reports.generator import Fact, Facts, make_item
from textgym.tasks.summarization.reports.keys import NAME, facts
from textgym.tasks.summarization.reports.scoring import GoldParts, gold, gold_parts, is_success
from textgym.types import Split

__all__ = ["Fact", "Facts", "GoldParts", "Reports", "facts", "gold", "gold_parts", "is_success"]


class Reports(GeneratedDataset):
    """Reports on councils, storms, companies, museums, races, courts and the like; none of them ever happened.

    The three splits share no combination of facts. ``references`` holds two editors' summaries; ``demonstrations`` one
    draft, which may leave facts out (65 %), ramble (80 %) and state a false fact (5 %), independently.

    Args:
        split: ``"train"`` (100,000 items), ``"validation"`` or ``"test"`` (2,000 each).
        seed: Which corpus; every seed gives other documents.

    Raises:
        DataError: The split is unknown or the seed is negative.
    """

    def __init__(self, split: Split = "train", seed: int = 0) -> None:
        super().__init__(NAME, split, _make, seed=seed)


def _make(seed: int, split: Split, position: int) -> Item:
    made = make_item(seed, split, position)
    return Item("|".join(fact.value for fact in made.facts.keys), made.document, made.references, (made.draft,))
