"""The built-in requests for stories and poems: words to use, texts that do, and drafts of writers who are careless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, composed, joined, name_of_level
from textgym.errors import DataError
from textgym.tasks.options import LEVELS
from textgym.tasks.story import lexicon
from textgym.tasks.story.grammar import parts_of_story, scheme_pairs
from textgym.tasks.story.lexicon import CLASSES, GENRES, RHYMES, Rhymes
from textgym.types import Split

NAME = "story-requests"
OMITS, MISPLACES, LIMPS, JARS, RAMBLES = 0.6, 0.6, 0.6, 0.6, 0.5
"""Shares of faults in drafts: of words that are left out, of sentences that open as another part of a story, of lines
out of metre, of rhymes that are none, and of drafts with a sentence or line too many."""


class Level(NamedTuple):
    """A level of difficulty.

    Attributes:
        words: How many words are to be used.
        sentences: How many sentences a story has.
        scheme: The rhymes of a poem, a letter for each line.
    """

    words: int
    sentences: int
    scheme: str


LEVEL: dict[str, Level] = {"easy": Level(1, 2, "aa"), "medium": Level(2, 3, "aabb"), "hard": Level(3, 4, "abab")}
MIXED = "mixed"
"""The name of all levels together."""
FORMS = ("story", "poem", "any")
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
_OPENERS = {"beginning": lexicon.BEGINNINGS, "middle": lexicon.MIDDLES, "ending": lexicon.ENDINGS}
# Lines in metre, word class by word class; the word in the end is a noun, an adjective or a verb.
_LINES = ("DJAVDN", "DAIPDN", "DOQDNBj", "DAVDOj", "DJARI", "DJORI")
# The same out of metre: a syllable or two too many or too few.
_LIMPING = ("DAVDN", "DjAVDN", "DJAVDjN", "DjAIPDN", "DAIPDjN", "DjOQDNBj", "DOBj", "DjAVDOj", "DARI", "DJOI")
_SHAPES = (*_LINES, *_LIMPING)
_NO_PARTS = ("", "beginning", "middle", "ending")
_INDEFINITE = 0.3
_MOST_TRIES = 10_000
_GENRE_NAMES = tuple(GENRES)
_ENDS = {lexicon.NOUN: "nouns", lexicon.SHORT: "adjectives", lexicon.INTRANSITIVE_VERB: "verbs"}
# Class -> words of which none stands twice in a text; class -> words that may.
_WORDS = {
    name: {
        lexicon.ACTOR: genre.actors,
        lexicon.THING: genre.things,
        lexicon.ADJECTIVE: genre.adjectives,
        lexicon.VERB: lexicon.TRANSITIVE,
        lexicon.INTRANSITIVE_VERB: lexicon.INTRANSITIVE,
        lexicon.ADVERB: lexicon.ADVERBS,
        lexicon.NOUN: tuple(word for rhymes in RHYMES for word in rhymes.nouns),
        lexicon.SHORT: tuple(word for rhymes in RHYMES for word in rhymes.adjectives),
    }
    for name, genre in GENRES.items()
}
_FREE = {lexicon.PREPOSITION: lexicon.PREPOSITIONS, lexicon.NEARBY: lexicon.NEAR, lexicon.WAS: ("was",)}


def requests(split: Split, *, difficulty: str = LEVELS[0], form: str = FORMS[0]) -> GeneratedDataset:
    """Return one split of the built-in requests of a level; of stories, of poems, or of any form, at random."""
    levels = list(LEVEL.values()) if difficulty == MIXED else [LEVEL[difficulty]]
    forms = ("story", "poem") if form == "any" else (form,)
    name = name_of_level(name_of_level(NAME, difficulty, LEVELS[0]), form, FORMS[0])
    return GeneratedDataset(name, split, composed(lambda draws: compose(draws, draws.pick(levels), draws.pick(forms))))


def compose(draws: Draws, level: Level, form: str) -> Item:
    """Return a request, two texts as asked for and a draft, of random choices."""
    name = draws.pick(_GENRE_NAMES)
    words = draws.sample(GENRES[name].words, level.words)
    count = len(level.scheme) if form == "poem" else level.sentences
    asked = f"A {name} {form} of {_NUMBERS[count]} {'lines' if form == 'poem' else 'sentences'}"
    made = Request(name, words, count, level.scheme if form == "poem" else "")
    return Item(
        joined((form, name, *sorted(words))),
        ", ".join(words),
        (_reference(draws, made), _reference(draws, made)),
        (_draft(draws, made),),
        {
            "asked": f"{asked}, {level.scheme}." if form == "poem" else f"{asked}.",
            "form": form,
            "genre": name,
            "words": words,
            "count": count,
            "scheme": made.scheme,
        },
    )


class Request(NamedTuple):
    """A request: the genre, the words to use, the number of sentences or lines, and the rhymes; a story has none."""

    genre: str
    words: Sequence[str]
    size: int
    scheme: str


def _reference(draws: Draws, asked: Request) -> str:
    if asked.scheme:
        units = _units(draws, asked.genre, asked.words, [_LINES] * asked.size, scheme_pairs(asked.scheme))
        return _as_poem(units)
    units = _units(draws, asked.genre, asked.words, [_SHAPES] * asked.size, [])
    return _as_story(draws, units, parts_of_story(asked.size))


def _draft(draws: Draws, asked: Request) -> str:
    """Return what a careless writer makes of it."""
    words = [word for word in asked.words if not draws.chance(OMITS)]
    count = asked.size + draws.chance(RAMBLES)
    if not asked.scheme:
        parts = [*parts_of_story(asked.size), "middle"][:count]
        opened = [draws.pick(_NO_PARTS) if draws.chance(MISPLACES) else part for part in parts]
        return _as_story(draws, _units(draws, asked.genre, words, [_SHAPES] * count, []), opened)
    shapes = [_LIMPING if draws.chance(LIMPS) else _LINES for _ in range(count)]
    pairs = [pair for pair in scheme_pairs(asked.scheme) if not draws.chance(JARS)]
    return _as_poem(_units(draws, asked.genre, words, shapes, pairs))


def _as_poem(units: Sequence[str]) -> str:
    return "\n".join(f"{unit[0].upper()}{unit[1:]}." for unit in units)


def _as_story(draws: Draws, units: Sequence[str], parts: Sequence[str]) -> str:
    sentences = []
    for unit, part in zip(units, parts, strict=True):
        opened = f"{draws.pick(_OPENERS[part])} {unit}" if part else unit
        sentences.append(f"{opened[0].upper()}{opened[1:]}.")
    return " ".join(sentences)


def _units(
    draws: Draws, genre: str, words: Sequence[str], choices: Sequence[Sequence[str]], pairs: Sequence[tuple[int, int]]
) -> list[str]:
    """Return clauses that use words.

    Args:
        draws: Source of choices.
        genre: Name of the genre.
        words: Words to use.
        choices: For each clause, the shapes that it may have.
        pairs: Numbers of the clauses that rhyme.
    """
    for _ in range(_MOST_TRIES):
        clauses = [list(draws.pick(shapes)) for shapes in choices]
        if _place(draws, clauses, genre, words) and _end(draws, clauses, pairs):
            _fill(draws, clauses, genre)
            return [" ".join(clause) for clause in clauses]
    raise DataError(f"expected {len(choices)} clauses to use {', '.join(words)} in, got none; ask for fewer words")


def _place(draws: Draws, clauses: list[list[str]], genre: str, words: Sequence[str]) -> bool:
    """Put words where words of their class are due; return whether there is a place for each."""
    for word in words:
        sign = CLASSES[genre][word]
        open_ = [clause for clause in clauses if sign in clause]
        if not open_:
            return False
        clause = draws.pick(open_)
        clause[clause.index(sign)] = word
    return True


def _end(draws: Draws, clauses: list[list[str]], pairs: Sequence[tuple[int, int]]) -> bool:
    """Put end words: in pairs they rhyme, and no others do; return whether there are any."""
    left = draws.shuffled(RHYMES)
    paired = {place for pair in pairs for place in pair}
    for group in (*pairs, *((place,) for place in range(len(clauses)) if place not in paired)):
        number = next((number for number, rhymes in enumerate(left) if _ends_of(draws, rhymes, clauses, group)), None)
        if number is None:
            return False
        left.pop(number)
    return True


def _ends_of(draws: Draws, rhymes: Rhymes, clauses: list[list[str]], group: Sequence[int]) -> bool:
    """End clauses in different words that rhyme, each of the class that is due; return whether there are such."""
    found: list[str] = []
    for place in group:
        options = [word for word in getattr(rhymes, _ENDS[clauses[place][-1]]) if word not in found]
        if not options:
            return False
        found.append(draws.pick(options))
    for place, word in zip(group, found, strict=True):
        clauses[place][-1] = word
    return True


def _fill(draws: Draws, clauses: list[list[str]], genre: str) -> None:
    """Put words of their class in all other places, none of them twice but articles and prepositions."""
    used = {word for clause in clauses for word in clause}
    for clause in clauses:
        for place, sign in enumerate(clause):
            if sign in _WORDS[genre]:
                clause[place] = _unused(draws, _WORDS[genre][sign], used)
            elif sign in _FREE:
                clause[place] = draws.pick(_FREE[sign])
        for place, sign in enumerate(clause):
            if sign == lexicon.ARTICLE:
                indefinite = "an" if clause[place + 1][0] in "aeiou" else "a"
                clause[place] = indefinite if draws.chance(_INDEFINITE) else "the"


def _unused(draws: Draws, words: Sequence[str], used: set[str]) -> str:
    while (word := draws.pick(words)) in used:
        pass
    used.add(word)
    return word
