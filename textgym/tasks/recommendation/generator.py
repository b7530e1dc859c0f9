"""Generator of users with a history and a catalogue, each with two recommendations and one writer's draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, draws_of, joined, name_of_level, owns
from textgym.tasks.recommendation.lexicon import FACETS, FLATTERY, ONE, TITLES, TWO
from textgym.types import Split

NAME = "films"
NOTES = "film-notes"
ITEMS: Mapping[Split, int] = {"train": 40_000, "validation": 2_000, "test": 2_000}
MIXED = "mixed"
FINDS, EXPLAINS, INVENTS = 0.35, 0.4, 0.6
"""Shares of drafts: that recommend the best films, give a reason that matters, and flatter."""
NEUTRAL = 3  # stars of a film that has nothing the user cares about
_WEIGHTED = 0.4  # share of the attributes of candidates that the user cares about


class Level(NamedTuple):
    """Sizes of an item.

    Attributes:
        weights: Stars that the user adds for each of the values that matter.
        indifferent: Films in the history that have no such value.
        candidates: Films in the catalogue.
        facets: Attributes of each film.
        asked: Number of films to recommend.
    """

    weights: tuple[int, ...]
    indifferent: int
    candidates: int
    facets: int
    asked: int


SIZES: Mapping[str, Level] = {
    "easy": Level((2, -2), 1, 3, 2, 1),
    "medium": Level((2, 1, -2), 1, 4, 2, 1),
    "hard": Level((2, 1, -1, -2), 2, 6, 3, 2),
}
Film = tuple[str, ...]
"""Values of the attributes of a film, in the order of ``FACETS``."""


def films(split: Split, *, difficulty: str = "medium") -> GeneratedDataset:
    """Return one split of the built-in users of a level; of all levels in turn where it is ``"mixed"``."""
    levels = list(SIZES.values()) if difficulty == MIXED else [SIZES[difficulty]]
    return GeneratedDataset(name_of_level(NAME, difficulty, "medium"), split, partial(make_item, levels), sizes=ITEMS)


def film_notes(split: Split, *, difficulty: str = "medium") -> GeneratedDataset:
    """Return the users of :func:`films` with other drafts: the stars of every attribute on offer.

    A model that learns to write these finds out how to read a history; few texts teach it that.
    """
    levels = list(SIZES.values()) if difficulty == MIXED else [SIZES[difficulty]]
    name, sizes = name_of_level(NOTES, difficulty, "medium"), {**ITEMS, "train": 10_000}
    return GeneratedDataset(name, split, partial(_with_notes, levels), sizes=sizes)


def _with_notes(levels: Sequence[Level], seed: int, split: Split, position: int) -> Item:
    item = make_item(levels, seed, split, position)
    weights = item.extra["weights"]
    notes = [
        f"{title}: {', '.join(f'{value} {NEUTRAL + weights.get(value, 0)}' for value in film)}."
        for title, film in item.extra["items"].items()
    ]
    return replace(item, demonstrations=(" ".join(notes),))


def make_item(levels: Sequence[Level], seed: int, split: Split, position: int) -> Item:
    """Make up a user, a catalogue, two recommendations and a draft."""
    draws, level = draws_of(seed, split, position), levels[position % len(levels)]
    while True:  # facts alone, which are cheap, until the split owns them
        weights = _weights(draws, level)
        seen, free = _history(draws, level, weights)
        titles = draws.sample(TITLES, len(seen) + level.candidates)
        rated, catalogue = titles[: len(seen)], _catalogue(draws, level, weights, free, titles[len(seen) :])
        stars = [NEUTRAL + worth(film, weights) for film in seen]
        rows = [*map(_row, rated, seen), *map(_row, catalogue, catalogue.values())]
        if owns(split, identity := joined([*stars, *rows])):
            break
    preferences = {title: worth(film, weights) for title, film in catalogue.items()}
    order = draws.shuffled(range(len(seen)))
    history = "\n".join(f"{stars[place]} {rows[place]}" for place in order)
    extra = {
        "corpus": NAME,
        "catalogue": ask(level.asked, rows[len(seen) :]),
        "count": level.asked,
        "items": {title: list(film) for title, film in catalogue.items()},
        "seen": rated,
        "weights": weights,
        "preferences": preferences,
    }
    best = sorted(catalogue, key=lambda title: -preferences[title])[: level.asked]
    good = (_good(draws, best, catalogue, weights), _good(draws, best, catalogue, weights))
    draft = _draft(draws, best, catalogue, weights)
    return Item(identity, history, good, (draft,), extra)


def worth(film: Film, weights: Mapping[str, int]) -> int:
    """Return what the user adds to the stars of a film for its attributes."""
    return sum(weights.get(value, 0) for value in film)


def ask(count: int, rows: Sequence[str]) -> str:
    """Return the catalogue as it stands in the prompt."""
    return "\n".join([f"\n\nRecommend {count} of", *(f"- {row}" for row in rows)])


def _row(title: str, film: Film) -> str:
    return f"{title}: {', '.join(film)}"


def _weights(draws: Draws, level: Level) -> dict[str, int]:
    values = [value for facet in FACETS[: level.facets] for value in facet]
    return dict(zip(draws.sample(values, len(level.weights)), level.weights, strict=True))


def _history(draws: Draws, level: Level, weights: Mapping[str, int]) -> tuple[list[Film], list[Film]]:
    """Return a film for every value that matters, whose other values do not, and a few indifferent ones.

    So the stars of a film tell the weight of a value exactly, once it is known which of its values matters: no
    candidate has one of the others. What candidates may have instead is returned too, for each attribute.
    """
    indifferent = [
        draws.shuffled([value for value in facet if value not in weights]) for facet in FACETS[: level.facets]
    ]
    company, free = [each[: len(each) // 2] for each in indifferent], [each[len(each) // 2 :] for each in indifferent]
    seen = [
        tuple(
            value if value in facet else draws.pick(others)
            for facet, others in zip(FACETS[: level.facets], company if value else free, strict=True)
        )
        for value in (*weights, *[None] * level.indifferent)
    ]
    return seen, [tuple(each) for each in free]


def _catalogue(
    draws: Draws, level: Level, weights: Mapping[str, int], free: Sequence[Film], titles: Sequence[str]
) -> dict[str, Film]:
    """Return candidates: the best is better than all others, and every one to be recommended has something liked."""
    known = [[value for value in facet if value in weights] for facet in FACETS[: level.facets]]
    while True:
        catalogue = {
            title: tuple(
                draws.pick(liked if liked and draws.chance(_WEIGHTED) else others)
                for liked, others in zip(known, free, strict=True)
            )
            for title in titles
        }
        worths = sorted((worth(film, weights) for film in catalogue.values()), reverse=True)
        if worths[0] > worths[1] and worths[level.asked - 1] > 0 and len(set(catalogue.values())) == len(titles):
            return catalogue


def _good(draws: Draws, best: Sequence[str], catalogue: Mapping[str, Film], weights: Mapping[str, int]) -> str:
    return _worded(draws, best, _matters(catalogue[best[0]], weights))


def _matters(film: Film, weights: Mapping[str, int]) -> str:
    """Return the value of a film that the user likes most; the first one where none matters."""
    return max(film, key=lambda value: weights.get(value, 0))


def _draft(draws: Draws, best: Sequence[str], catalogue: Mapping[str, Film], weights: Mapping[str, int]) -> str:
    """Recommend what stands first, for what is said of it first, and flatter it, unless the writer thinks."""
    chosen = best if draws.chance(FINDS) else list(catalogue)[: len(best)]
    film = catalogue[chosen[0]]
    reason = _matters(film, weights) if draws.chance(EXPLAINS) else film[0]
    flattery = f" and {draws.pick(FLATTERY)}" if draws.chance(INVENTS) else ""
    return _worded(draws, chosen, f"{reason}{flattery}")


def _worded(draws: Draws, titles: Sequence[str], reason: str) -> str:
    forms = ONE if len(titles) == 1 else TWO
    return draws.pick(forms).format(first=titles[0], second=titles[-1], reason=reason)
