"""The built-in reviews: their openings, continuations with the wanted sentiment, and drafts of writers who grumble."""

from __future__ import annotations

from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, composed, joined, name_of_level
from textgym.tasks.continuation import lexicon
from textgym.tasks.continuation.grammar import write
from textgym.tasks.continuation.lexicon import KINDS, Aspect
from textgym.tasks.options import LEVELS
from textgym.types import Split

NAME = "reviews"
GRUMBLES = {"positive": 0.6, "negative": 0.8}
"""Share of a draft's sentences that blame, by the wanted sentiment."""
REPEATS = 0.4
"""Share of a draft's later sentences that come back to a side of the thing which was spoken of before."""
RAMBLES = 0.6
"""Share of drafts with one sentence more, which has no opinion."""


class Level(NamedTuple):
    """A level of difficulty.

    Attributes:
        sentences: How many are to be written.
        opinions: How many opinions the opening has.
        contrary: Whether these are always of the sentiment that is not wanted; of either sentiment otherwise.
    """

    sentences: int
    opinions: int
    contrary: bool = False


LEVEL: dict[str, Level] = {"easy": Level(1, 0), "medium": Level(2, 1), "hard": Level(3, 2, contrary=True)}
MIXED = "mixed"
"""The name of all levels together."""
AMOUNTS = {1: "one sentence", 2: "two sentences", 3: "three sentences"}
_SIGNS = {"positive": 1, "negative": -1}


def reviews(split: Split, *, difficulty: str = LEVELS[0], sentiment: str = "given") -> GeneratedDataset:
    """Return one split of the built-in reviews of a level; ``sentiment`` is wanted of all, or ``"given"`` at random."""
    levels = list(LEVEL.values()) if difficulty == MIXED else [LEVEL[difficulty]]
    name = name_of_level(name_of_level(NAME, difficulty, LEVELS[0]), sentiment, "given")
    return GeneratedDataset(name, split, composed(lambda draws: compose(draws, draws.pick(levels), sentiment)))


def compose(draws: Draws, level: Level, sentiment: str = "given") -> Item:
    """Return a review to be continued, of random choices (about 60 microseconds)."""
    kind = draws.pick(_KIND_NAMES)
    facts = {
        "name": draws.pick(lexicon.NAMES),
        "town": draws.pick(lexicon.TOWNS),
        "month": draws.pick(lexicon.MONTHS),
        "number": draws.pick(lexicon.NUMBERS),
        "who": draws.pick(lexicon.WHO),
    }
    wanted = draws.pick(("positive", "negative"))
    wanted = wanted if sentiment == "given" else sentiment
    order = draws.shuffled(list(KINDS[kind].aspects.values()))
    told, rest = order[: level.opinions], order[level.opinions :]
    opening = [draws.pick(KINDS[kind].openings).format_map(facts)]
    for aspect in told:
        opening.append(write(draws, aspect, -_SIGNS[wanted] if level.contrary else draws.pick((1, -1))))
    references = [_continuation(draws, draws.sample(rest, level.sentences), _SIGNS[wanted]) for _ in range(2)]
    return Item(
        joined([kind, *facts.values()]),
        " ".join(opening),
        (references[0], references[1]),
        (_draft(draws, told, rest, level, wanted),),
        {
            "wanted": wanted,
            "amount": AMOUNTS[level.sentences],
            "sentences": level.sentences,
            "kind": kind,
            "told": [aspect.name for aspect in told],
        },
    )


def _continuation(draws: Draws, aspects: list[Aspect], sign: int) -> str:
    return " ".join(write(draws, aspect, sign) for aspect in aspects)


def _draft(draws: Draws, told: list[Aspect], rest: list[Aspect], level: Level, wanted: str) -> str:
    """Return what a writer makes of it who blames, comes back to what was said, and rambles."""
    said, fresh, written = list(told), draws.shuffled(rest), list[str]()
    for _ in range(level.sentences):
        again = bool(said) and draws.chance(REPEATS)
        aspect = said[-1] if again else fresh.pop()
        said.append(aspect)
        written.append(write(draws, aspect, -1 if draws.chance(GRUMBLES[wanted]) else 1))
    if draws.chance(RAMBLES):
        written.append(draws.pick(lexicon.FILLERS))
    return " ".join(written)


_KIND_NAMES = tuple(KINDS)
