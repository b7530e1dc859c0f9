"""Generator of sentences, each with its translations and one learner's draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, draws_of, joined, name_of_level, owns
from textgym.tasks.translate import lexicon
from textgym.tasks.translate.grammar import (
    Form,
    Parts,
    Phrase,
    Sentence,
    arranged,
    english_orders,
    english_parts,
    english_verbs,
    german_orders,
    german_parts,
    german_verbs,
    present,
    text_of,
    translations,
)
from textgym.types import Split

NAME = "sentences"
DIRECTIONS = ("from_english", "to_english", "both")
RIGHT = 0.3
"""Share of drafts that get an aspect right: word order, cases, the form of the verb, each adjective, the time."""
_TENSES = ("present", "past", "modal")


class Level(NamedTuple):
    """Make-up of the sentences of a level: shares of those with an adjective, a time, a further phrase."""

    adjective: float
    time: float
    companion: float
    tenses: Sequence[str]
    one: Sequence[str]  # determiners in the singular
    several: Sequence[str]


LEVELS: Mapping[str, Level] = {
    "easy": Level(0.3, 0.0, 0.0, ("present",), ("the", "a"), ("the",)),
    "medium": Level(0.5, 0.7, 0.0, _TENSES, ("the", "a"), ("the",)),
    "hard": Level(0.5, 0.6, 0.6, _TENSES, ("the", "a", "this", "my"), ("the", "this", "my", "two", "three")),
}


def sentences(split: Split, *, difficulty: str = "medium", direction: str = "from_english") -> GeneratedDataset:
    """Return one split of the built-in sentences of a level, in one direction or both in turn."""
    name = name_of_level(name_of_level(NAME, direction, DIRECTIONS[0]), difficulty, "medium")
    return GeneratedDataset(name, split, partial(make_item, LEVELS[difficulty], direction))


def make_item(level: Level, direction: str, seed: int, split: Split, position: int) -> Item:
    """Make up a sentence, translations and a draft; ``extra`` has the target language and what the sentence says."""
    draws = draws_of(seed, split, position)
    while True:
        said = _sentence(draws, level)
        identity = joined(said._replace(tense="past" if said.tense == "perfect" else said.tense))
        if owns(split, identity):
            break
    to_english = direction == "to_english" or (direction == "both" and position % 2 == 1)
    if not to_english and said.tense == "perfect":
        said = said._replace(tense="past")
    source, target = ("German", "English") if to_english else ("English", "German")
    prompt = text_of(_source(draws, said, source))
    correct = draws.shuffled(translations(said, target))
    draft = _english_draft(draws, said) if to_english else _german_draft(draws, said)
    references = tuple(text_of(form) for form in correct[:2])
    return Item(identity, prompt, references, (text_of(draft),), {"target": target, "facts": said.to_json()})


def _sentence(draws: Draws, level: Level) -> Sentence:
    kind = draws.pick(level.tenses)
    tense = {"past": draws.pick(("past", "perfect")), "modal": draws.pick(list(lexicon.MODALS))}.get(kind, kind)
    time = draws.pick(list(lexicon.TIMES[kind])) if draws.chance(level.time) else ""
    subject = _phrase(draws, level, lexicon.PERSONS, lexicon.ADJECTIVES_OF_PERSONS)
    object_ = _phrase(draws, level, lexicon.THINGS, lexicon.ADJECTIVES_OF_THINGS)
    said = Sentence(subject, draws.pick(lexicon.VERBS).english, tense, object_, time)
    if not draws.chance(level.companion):
        return said
    preposition = draws.pick(list(lexicon.PREPOSITIONS))
    if preposition in lexicon.PREPOSITIONS_OF_PLACES:
        return said._replace(preposition=preposition, companion=_phrase(draws, level, lexicon.PLACES, {"old": "alt"}))
    while (companion := _phrase(draws, level, lexicon.PERSONS, lexicon.ADJECTIVES_OF_PERSONS)).noun == subject.noun:
        pass
    return said._replace(preposition=preposition, companion=companion)


def _phrase(draws: Draws, level: Level, nouns: Sequence[lexicon.Noun], adjectives: Mapping[str, str]) -> Phrase:
    plural = draws.chance(0.3)
    determiner = draws.pick(level.several if plural else level.one)
    adjective = draws.pick(list(adjectives)) if draws.chance(level.adjective) else ""
    return Phrase(draws.pick(nouns).english, plural, determiner, adjective)


def _source(draws: Draws, said: Sentence, language: str) -> Form:
    if language == "English":
        parts = english_parts(said, english_verbs(said, said.subject.plural)[0])
        return arranged(parts, draws.pick(english_orders(parts)))
    verbs = german_verbs(said, said.subject.plural)
    parts = german_parts(said, verbs[1] if said.tense == "past" else verbs[0])
    return arranged(parts, draws.pick(german_orders(said, parts)))


def _simplified(draws: Draws, said: Sentence) -> Sentence:
    """Leave out what learners find hard to say: most adjectives, and most times."""
    return said._replace(
        subject=_short(draws, said.subject),
        object=_short(draws, said.object),
        companion=said.companion and _short(draws, said.companion),
        time=said.time if draws.chance(RIGHT) else "",
    )


def _short(draws: Draws, phrase: Phrase) -> Phrase:
    return phrase if draws.chance(RIGHT) else phrase._replace(adjective="")


def _german_draft(draws: Draws, said: Sentence) -> Form:
    """Say it as a learner of German does: in English order, with one form of the verb, and without cases."""
    said = _simplified(draws, said)
    verbs = german_verbs(said, said.subject.plural and draws.chance(RIGHT))
    parts = german_parts(said, draws.pick(verbs), cases=draws.chance(RIGHT))
    return _ordered(draws, parts, german_orders(said, parts), english_orders(parts))


def _english_draft(draws: Draws, said: Sentence) -> Form:
    """Say it as a learner of English does: in German order, and without the -s of the verb."""
    said = _simplified(draws, said)
    verbs = english_verbs(said, said.subject.plural or not draws.chance(RIGHT))
    parts = english_parts(said, draws.pick(verbs))
    german = ("SVTOPI", "TVSOPI") if said.time else ("SVOPI",)
    return _ordered(draws, parts, english_orders(parts), [present(order, parts) for order in german])


def _ordered(draws: Draws, parts: Parts, right: Sequence[str], wrong: Sequence[str]) -> Form:
    return arranged(parts, draws.pick(right if draws.chance(RIGHT) else wrong))
