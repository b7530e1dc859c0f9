"""The built-in passages of question answering: short texts about invented places, and questions about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, composed, joined, name_of_level
from textgym.metrics.answers import UNANSWERABLE
from textgym.tasks.options import LEVELS
from textgym.types import Split

NAME = "passages"
_ABSTAINS = 0.25  # share of the drafts about what is not said that say so
_ATTENDS = 0.4  # share of drafts about the right place, where the same is said of others too
_BRIEF = 0.35  # share of drafts that are no longer than the answer
_NAMES = (
    *("Arlen", "Bellow", "Carrow", "Denby", "Elmore", "Farrow", "Garth", "Hollin", "Ister", "Jarrow", "Kelden"),
    *("Lorne", "Marsden", "Norwell", "Orford", "Pelham", "Quarry", "Rowan", "Selby", "Tarn", "Ulster", "Varley"),
    *("Welby", "Yarrow", "Ashby", "Brindle", "Corby", "Dorset", "Esk", "Fenwick"),
)
_KINDS = ("museum", "library", "bridge", "theatre", "hotel", "school", "market", "mill", "garden", "tower")
_FIRST = (
    *("Anna", "Boris", "Clara", "David", "Edith", "Frank", "Greta", "Hugo", "Irene", "Jonas", "Karen", "Louis"),
    *("Maria", "Niels", "Olga", "Peter", "Rosa", "Simon", "Tilda", "Victor"),
)
_LAST = (
    *("Abbot", "Baker", "Cole", "Drake", "Evans", "Fischer", "Grant", "Hale", "Irving", "Jensen", "Keller", "Lund"),
    *("Moss", "Novak", "Olsen", "Price", "Reed", "Stone", "Turner", "Vogel", "Weber", "Young"),
)
_TOWNS = (
    *("Alton", "Bergen", "Calder", "Delft", "Exeter", "Fulda", "Ghent", "Hove", "Ipswich", "Jena", "Kendal", "Leiden"),
    *("Malmo", "Namur", "Oxford", "Passau", "Ripon", "Siena", "Truro", "Utrecht", "Vienna", "Worms", "York", "Zurich"),
)
_MATERIALS = ("brick", "stone", "oak", "glass", "steel", "marble", "slate", "copper", "granite", "concrete")
_COLORS = ("red", "green", "white", "yellow", "blue", "black", "grey", "brown", "orange", "purple")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Aspect(NamedTuple):
    """Something that can be said of a place.

    Attributes:
        value: Draws what is said.
        statement: Sentence with ``{it}`` for the place and ``{value}``.
        question: Question with ``{it}`` for the place.
        other: Another way of asking.
        answer: A longer answer, with ``{value}``.
    """

    value: Callable[[Draws], str]
    statement: str
    question: str
    other: str
    answer: str


def _one_of(values: Sequence[str]) -> Callable[[Draws], str]:
    return lambda draws: draws.pick(values)


def _number(low: int, high: int) -> Callable[[Draws], str]:
    return lambda draws: str(draws.whole(low, high))


ASPECTS: Mapping[str, Aspect] = {
    "year": Aspect(
        _number(1850, 1999),
        "{it} opened in {value}.",
        "When did {it} open?",
        "In which year was {it} opened?",
        "in the year {value}",
    ),
    "person": Aspect(
        lambda draws: f"{draws.pick(_FIRST)} {draws.pick(_LAST)}",
        "{it} was designed by {value}.",
        "Who designed {it}?",
        "By whom was {it} designed?",
        "it was designed by {value}",
    ),
    "town": Aspect(
        _one_of(_TOWNS),
        "{it} is in {value}.",
        "Where is {it}?",
        "In which town can {it} be found?",
        "it is in {value}",
    ),
    "material": Aspect(
        _one_of(_MATERIALS),
        "{it} is built of {value}.",
        "What is {it} built of?",
        "Which material is {it} made from?",
        "it is built of {value}",
    ),
    "color": Aspect(
        _one_of(_COLORS),
        "The door of {it} is {value}.",
        "What color is the door of {it}?",
        "In which color is the door of {it} painted?",
        "the door is {value}",
    ),
    "visitors": Aspect(
        _number(20, 990),
        "{it} has {value} visitors a day.",
        "How many visitors a day does {it} have?",
        "How many people come to {it} every day?",
        "there are {value} visitors",
    ),
    "day": Aspect(
        _one_of(_DAYS),
        "{it} is closed on {value}.",
        "When is {it} closed?",
        "On which day can nobody visit {it}?",
        "it is closed on {value}",
    ),
}


class Level(NamedTuple):
    """The size of a level: places in a passage, facts of each, and shares of questions.

    Attributes:
        places: Number of places.
        facts: Number of facts about each place.
        unanswerable: Share of questions without an answer.
        reworded: Share of questions that are asked in other words than those of the passage.
    """

    places: int
    facts: int
    unanswerable: float
    reworded: float


SIZES: Mapping[str, Level] = {
    "easy": Level(1, 3, 0.2, 0.0),
    "medium": Level(2, 2, 0.3, 0.0),
    "hard": Level(3, 3, 0.4, 0.5),
}


class _Place(NamedTuple):
    name: str
    facts: dict[str, str]


def passages(split: Split, *, difficulty: str = LEVELS[0]) -> GeneratedDataset:
    """Return one split of the built-in passages."""
    name = name_of_level(NAME, difficulty, LEVELS[0])
    return GeneratedDataset(name, split, composed(partial(compose, SIZES[difficulty])))


def compose(level: Level, draws: Draws) -> Item:
    """Compose a passage about some places, and a question about one of them."""
    kinds, names = draws.sample(_KINDS, level.places), draws.sample(_NAMES, level.places)
    places = [_Place(f"the {name} {kind}", _facts(draws, level.facts)) for name, kind in zip(names, kinds, strict=True)]
    asked, others = places[0], places[1:]
    lacking = draws.chance(level.unanswerable)
    aspect = _aspect(draws, asked, others, lacking)
    ways = ASPECTS[aspect]
    question = (ways.other if draws.chance(level.reworded) else ways.question).format(it=asked.name)
    sentences = draws.shuffled([(place.name, *fact) for place in places for fact in place.facts.items()])
    passage = " ".join(_sentence(*each) for each in sentences)
    answer = UNANSWERABLE if lacking else asked.facts[aspect]
    said = [value for _, kind, value in sentences if kind == aspect]
    identity = joined([asked.name, aspect, *(value for _, _, value in sentences)])
    return Item(
        identity,
        f"{passage}\n\n{question}",
        (answer,),
        (_draft(draws, aspect, answer, said, [value for _, _, value in sentences]),),
        {
            "passage": passage,
            "question": question,
            "answerable": not lacking,
            "asked": [asked.name, aspect],
            "facts": [list(each) for each in sentences],
        },
    )


def _facts(draws: Draws, count: int) -> dict[str, str]:
    return {aspect: ASPECTS[aspect].value(draws) for aspect in draws.sample(tuple(ASPECTS), count)}


def _aspect(draws: Draws, asked: _Place, others: Sequence[_Place], lacking: bool) -> str:
    """Return what is asked of a place: one of its facts, or something that is said of another place at most."""
    if not lacking:
        aspect = draws.pick(tuple(asked.facts))
        if others and aspect not in others[0].facts and draws.chance(0.7):  # so that it matters which place it is
            gone = draws.pick(tuple(others[0].facts))
            del others[0].facts[gone]
            others[0].facts[aspect] = _another(draws, aspect, asked.facts[aspect])
        return aspect
    missing = [aspect for aspect in ASPECTS if aspect not in asked.facts]
    elsewhere = [aspect for aspect in missing if any(aspect in other.facts for other in others)]
    nowhere = [aspect for aspect in missing if aspect not in elsewhere]
    return draws.pick(elsewhere if elsewhere and (not nowhere or draws.chance(0.5)) else nowhere)


def _another(draws: Draws, aspect: str, value: str) -> str:
    """Return a value of an aspect other than this one."""
    found = value
    while found == value:
        found = ASPECTS[aspect].value(draws)
    return found


def _sentence(name: str, aspect: str, value: str) -> str:
    text = ASPECTS[aspect].statement.format(it=name, value=value)
    return text[0].upper() + text[1:]


def _draft(draws: Draws, aspect: str, answer: str, said: Sequence[str], values: Sequence[str]) -> str:
    """Return the answer of a careless reader, who rarely abstains, often takes another place's fact, and is wordy."""
    others = [value for value in said if value != answer]
    if answer == UNANSWERABLE:
        if draws.chance(_ABSTAINS):
            return UNANSWERABLE
        value = draws.pick(others or values)
    else:
        value = answer if not others or draws.chance(_ATTENDS) else draws.pick(others)
    return value if draws.chance(_BRIEF) else ASPECTS[aspect].answer.format(value=value)
