"""From (seed, split, index) to facts, a document, editors' summaries and one writer's draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import draws_of, joined, owns
from textgym.tasks.summarization.reports import lexicon
from textgym.tasks.summarization.reports.frames_people import FILLERS, PEOPLE_GENRES
from textgym.tasks.summarization.reports.frames_public import PUBLIC_GENRES
from textgym.tasks.summarization.reports.genre import Genre, Group, fill, summary_parts, unfold
from textgym.types import Split

GENRES: tuple[Genre, ...] = (*PUBLIC_GENRES, *PEOPLE_GENRES)
_BY_NAME = {genre.name: genre for genre in GENRES}
Fault = Literal["omits", "confuses", "slips", "rambles", "digresses"]
Writer = Literal["rambling", "hurried"]
# How many of a writer's drafts leave facts out, take an old figure for the figure (or leave it out, where there is
# none), state a false fact, add sentences that tell nothing, or add a side issue of the document; independently.
FAULTS: Mapping[Writer, Mapping[Fault, float]] = {
    "rambling": {"omits": 0.65, "slips": 0.05, "rambles": 0.8},
    "hurried": {"confuses": 0.7, "slips": 0.05, "digresses": 0.65},
}


class Length(NamedTuple):
    """The length of documents: how many background sentences, sentences in all and words there are."""

    backgrounds: tuple[int, ...]
    most_sentences: int
    fewest_words: int
    most_words: int


LENGTHS: Mapping[str, Length] = {
    "easy": Length((2,), 5, 35, 65),
    "medium": Length((2, 3, 3, 4), 6, 45, 75),
    "hard": Length((4,), 7, 65, 110),
}
"""Level of difficulty -> length of the documents."""
_RAMBLING_WORDS = 30
_NO_OMISSION: frozenset[str] = frozenset()


class Fact(NamedTuple):
    """One value of a document: the slot it fills, its kind, and how it is written."""

    role: str
    kind: str
    value: str


class Facts(NamedTuple):
    """What a document says.

    Attributes:
        genre: Name of the genre.
        keys: The four facts a good summary states.
        rivals: Values of the same or other kinds that a good summary leaves out.
    """

    genre: str
    keys: tuple[Fact, ...]
    rivals: tuple[Fact, ...]


class Item(NamedTuple):
    """One generated item; ``faults`` are those of ``draft``."""

    facts: Facts
    document: str
    references: tuple[str, str]
    draft: str
    faults: frozenset[Fault]


@lru_cache(maxsize=4096)
def draw_facts(seed: int, split: Split, index: int) -> Facts:
    """The facts of one item, without its texts (about 40 microseconds)."""
    return _draw_facts(draws_of(seed, split, index), split)


def make_item(seed: int, split: Split, index: int, difficulty: str = "medium", writer: Writer = "rambling") -> Item:
    """The item at ``index``: a pure function of its arguments (about 130 microseconds).

    Its facts are the same at every level of difficulty, and whoever writes the draft.
    """
    draws = draws_of(seed, split, index)
    facts = _draw_facts(draws, split)
    genre = _BY_NAME[facts.genre]
    values = _values(facts)
    sentences, background = _document(draws, genre, values, LENGTHS[difficulty])
    first, second, third = draws.shuffled(range(len(genre.summaries)))[:3]
    references = (_summary(draws, genre.summaries[first], values), _summary(draws, genre.summaries[second], values))
    faults, document = _draw_faults(draws, writer), " ".join(sentences)
    draft = _draft(draws, faults, genre, genre.summaries[third], facts, document, background)
    return Item(facts, document, references, draft, faults)


def _draw_facts(draws: Draws, split: Split) -> Facts:
    genre = draws.pick(GENRES)
    while True:
        keys = tuple(Fact(role, genre.slots[role], draw_value(draws, genre.slots[role])) for role in genre.keys)
        if owns(split, joined([fact.value for fact in keys])):
            break
    taken = list(keys)
    for role, kind in genre.slots.items():
        if role not in genre.keys:
            taken.append(Fact(role, kind, draw_other(draws, kind, [fact.value for fact in taken if fact.kind == kind])))
    return Facts(genre.name, keys, tuple(taken[len(keys) :]))


def draw_value(draws: Draws, kind: str) -> str:
    """A value of a kind: ``"town"``, ``"thing:project"``, ``"count:20:900"`` ..."""
    sort, _, detail = kind.partition(":")
    if sort == "thing":
        things = lexicon.THINGS[detail]
        return f"{draws.pick(things.modifiers)} {draws.pick(things.nouns)}"
    if sort == "count":
        low, high = detail.split(":")
        return str(draws.pick(range(int(low), int(high) + 1)))
    if sort == "person":
        return f"{draws.pick(lexicon.FIRST_NAMES)} {draws.pick(lexicon.LAST_NAMES)}"
    if sort == "org":
        return f"{draws.pick(lexicon.ORG_HEADS)} {draws.pick(lexicon.ORG_TAILS[detail])}"
    if sort == "date":
        return f"{draws.pick(lexicon.DAYS)} {draws.pick(lexicon.MONTHS)}"
    return draws.pick(_LISTS[kind])


_LISTS: dict[str, Sequence[str]] = {
    "town": lexicon.TOWNS,
    "weekday": lexicon.WEEKDAYS,
    "money": lexicon.MONEY,
    "prize": lexicon.PRIZES,
    "term:sentence": lexicon.TERMS["sentence"],
    "term:closure": lexicon.TERMS["closure"],
}


def draw_other(draws: Draws, kind: str, taken: Sequence[str]) -> str:
    """A value unlike those taken: names and things share no word with them."""
    by_word = kind.startswith(("person", "thing", "org"))
    used = {word for value in taken for word in value.split()} if by_word else set(taken)
    while True:
        value = draw_value(draws, kind)
        if not used.intersection(value.split() if by_word else (value,)):
            return value


def _values(facts: Facts) -> dict[str, str]:
    """Slot -> text; a person's slot also gives ``<slot>_last``."""
    values = {fact.role: fact.value for fact in (*facts.keys, *facts.rivals)}
    people = {fact.role: fact.value for fact in (*facts.keys, *facts.rivals) if fact.kind == "person"}
    return values | {f"{role}_last": name.rsplit(" ", 1)[-1] for role, name in people.items()}


def _sentence(draws: Draws, frames: Group, values: dict[str, str]) -> str:
    return fill(draws.pick(unfold(draws.pick(frames))), values)


def _clause(draws: Draws, frames: Group, values: dict[str, str]) -> tuple[str, str]:
    """One sentence in two forms: to stand alone, and to follow "and" (lower case unless it begins with a value)."""
    wording = draws.pick(unfold(draws.pick(frames)))
    return fill(wording, values), (wording[0].lower() + wording[1:]).format_map(values)


def _document(draws: Draws, genre: Genre, values: dict[str, str], length: Length) -> tuple[list[str], str]:
    """The sentences of a document, and one background sentence among them."""
    while True:
        lead = _sentence(draws, genre.lead, values)
        body = _body(draws, genre, values)
        chosen = draws.shuffled(genre.background)[: draws.pick(length.backgrounds)]
        background = [_sentence(draws, group, values) for group in chosen]
        # A sentence that begins with "It" speaks of what the lead is about, so it stays close to the lead.
        rest = sorted(draws.shuffled(body + background), key=lambda text: not text.startswith(("It ", "They ")))
        words = sum(text.count(" ") + 1 for text in (lead, *rest))
        if len(rest) < length.most_sentences and length.fewest_words <= words <= length.most_words:
            return [lead, *rest], background[0]


def _body(draws: Draws, genre: Genre, values: dict[str, str]) -> list[str]:
    """The key facts that the lead leaves over, in two sentences or joined in one."""
    clauses = draws.shuffled((_clause(draws, genre.third, values), _clause(draws, genre.fourth, values)))
    clauses.sort(key=lambda clause: not clause[0].startswith(("It ", "They ")))
    subjects = {alone.split(" ", 1)[0] for alone, _ in clauses}
    if draws.uniform() < 0.5 or len(subjects) == 1:
        return [alone for alone, _ in clauses]
    return [f"{clauses[0][0][:-1]}, and {clauses[1][1]}"]


def _summary(draws: Draws, frame: str, values: dict[str, str], omitted: frozenset[str] = _NO_OMISSION) -> str:
    parts = summary_parts(draws.pick(unfold(frame)))
    return fill("".join(part.without if part.key in omitted else part.text for part in parts), values)


def _draw_faults(draws: Draws, writer: Writer) -> frozenset[Fault]:
    return frozenset(fault for fault, share in FAULTS[writer].items() if draws.uniform() < share)


def figure_of(genre: Genre) -> str:
    """Return the key slot that a hurried writer gets wrong: the amount, count or term, or else the last one."""
    figures = [key for key in genre.keys if genre.slots[key].startswith(("money", "prize", "count", "term"))]
    return figures[-1] if figures else genre.keys[-1]


def _draft(
    draws: Draws, faults: frozenset[Fault], genre: Genre, frame: str, facts: Facts, document: str, background: str
) -> str:
    omitted, wrong = _NO_OMISSION, dict[str, str]()
    if "omits" in faults:
        omitted = frozenset(draws.shuffled(genre.keys)[: 1 if draws.uniform() < 0.7 else 2])
    if "confuses" in faults:
        figure = figure_of(genre)
        old = next(fact.value for fact in facts.rivals if fact.role == f"{figure}2")
        omitted, wrong = (_NO_OMISSION, {figure: old}) if old in document else (frozenset([figure]), wrong)
    if "slips" in faults:
        wrong = _slip(draws, facts, omitted)
    text = _summary(draws, frame, _values(facts) | wrong, omitted)
    if "digresses" in faults:
        return f"{text} {background}"
    return _padded(draws, text, background) if "rambles" in faults else text


def _slip(draws: Draws, facts: Facts, omitted: frozenset[str]) -> dict[str, str]:
    """One stated key slot with a wrong value: a rival's from the document, or one from nowhere."""
    wrong = draws.pick([fact for fact in facts.keys if fact.role not in omitted])
    rivals = [fact.value for fact in facts.rivals if fact.kind == wrong.kind]
    if rivals and draws.uniform() < 0.6:
        return {wrong.role: draws.pick(rivals)}
    return {wrong.role: draw_other(draws, wrong.kind, [wrong.value])}


def _padded(draws: Draws, text: str, background: str) -> str:
    """A summary with one or two sentences that tell nothing, or a side issue of the document."""
    pool = draws.shuffled(FILLERS)
    extra = [background] if draws.uniform() < 0.4 else [draws.pick(unfold(pool.pop()))]
    if text.count(" ") + extra[0].count(" ") + 2 < _RAMBLING_WORDS:
        extra.append(draws.pick(unfold(pool.pop())))
    return " ".join((text, *extra))
