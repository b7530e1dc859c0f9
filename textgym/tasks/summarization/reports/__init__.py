"""The built-in corpus: short invented reports, summaries and drafts of them, and a score that knows the facts."""

from __future__ import annotations

from functools import partial

from textgym.data.generated import GeneratedDataset, Item, name_of_level
from textgym.tasks.summarization.reports.generator import LENGTHS, Fact, Facts, Writer, make_item
from textgym.tasks.summarization.reports.keys import NAME, facts
from textgym.tasks.summarization.reports.scoring import GoldParts, gold, gold_parts, is_success
from textgym.types import Split

__all__ = ["LENGTHS", "Fact", "Facts", "GoldParts", "Reports", "facts", "gold", "gold_parts", "is_success"]


class Reports(GeneratedDataset):
    """Reports on councils, storms, companies, museums, races, courts and the like; none of them ever happened.

    The three splits share no combination of facts. ``references`` holds two editors' summaries; ``demonstrations`` one
    draft. The rambling writer leaves facts out, any of them (65 %), rambles (80 %) and states a false fact (5 %),
    independently. The hurried writer takes an old figure of the document for the figure, or leaves it out where there
    is no other (70 %), adds a side issue of the document (65 %) and states a false fact (5 %): its most likely text is
    wrong.

    Args:
        split: ``"train"`` (100,000 items), ``"validation"`` or ``"test"`` (2,000 each).
        difficulty: Length of the documents: ``"easy"`` (2 background sentences, 35 to 65 words in all), ``"medium"`` (2
            to 4, 45 to 75) or ``"hard"`` (4, 65 to 110). The facts of an item are the same at every level.
        writer: Author of the drafts: ``"rambling"`` or ``"hurried"``.
        seed: Which corpus; every seed gives other documents.

    Raises:
        DataError: The split is unknown or the seed is negative.
    """

    def __init__(
        self, split: Split = "train", seed: int = 0, difficulty: str = "medium", writer: Writer = "rambling"
    ) -> None:
        make = partial(_make, difficulty=difficulty, writer=writer)
        super().__init__(name_of_level(NAME, difficulty, "medium"), split, make, seed=seed)


def _make(seed: int, split: Split, position: int, *, difficulty: str, writer: Writer) -> Item:
    made = make_item(seed, split, position, difficulty, writer)
    return Item("|".join(fact.value for fact in made.facts.keys), made.document, made.references, (made.draft,))
