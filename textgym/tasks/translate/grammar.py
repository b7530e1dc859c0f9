"""The grammar of the two languages: the content of a sentence, and all correct ways to say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from textgym.tasks.translate.lexicon import (
    ADJECTIVES,
    BARE,
    GENDERS,
    MIXED,
    MODALS,
    NUMBERS,
    PERSONS,
    PLACES,
    PREPOSITIONS,
    STRONG,
    THE,
    THINGS,
    TIMES,
    VERBS,
    WEAK,
    Noun,
)

Constituent = tuple[str, ...]
"""A part of a sentence that keeps its place as one: a noun with what belongs to it, a verb, an expression of time."""
Form = tuple[Constituent, ...]
"""A sentence as its constituents, in order."""
Parts = Mapping[str, tuple[Constituent, ...]]
"""Role -> constituents: subject, (finite) verb, infinitive or participle, object, phrase, time, by their initials."""

NOUNS: Mapping[str, Noun] = {noun.english: noun for noun in (*PERSONS, *THINGS, *PLACES)}
_VERBS = {verb.english: verb for verb in VERBS}
_TIMES = {english: german for times in TIMES.values() for english, german in times.items()}


class Phrase(NamedTuple):
    """A noun with its determiner ("the", "a", "this", "my", "two", "three") and adjective; words are English ones."""

    noun: str
    plural: bool
    determiner: str
    adjective: str = ""


class Sentence(NamedTuple):
    """The content of a sentence, in English words.

    Attributes:
        subject, object: Agent and patient of the verb.
        verb: An infinitive.
        tense: ``"present"``, ``"past"``, ``"perfect"`` (a past that a German text has put so), or a modal verb.
        time: An expression of time; ``""``: none.
        preposition, companion: A further phrase; ``""`` and ``None``: none.
    """

    subject: Phrase
    verb: str
    tense: str
    object: Phrase
    time: str = ""
    preposition: str = ""
    companion: Phrase | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Sentence:
        """Return the sentence of JSON values: the inverse of :meth:`to_json`."""
        values: dict[str, Any] = {
            name: Phrase(*value) if isinstance(value, list) else value for name, value in facts.items()
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        facts = self._asdict().items()
        return {name: list(value) if isinstance(value, Phrase) else value for name, value in facts}


def english_phrase(phrase: Phrase) -> Constituent:
    """Return a noun with its determiner and adjective in English."""
    noun = NOUNS[phrase.noun]
    rest = (*filter(None, (phrase.adjective,)), noun.english_plural if phrase.plural else noun.english)
    determiner = {"this": "these"}.get(phrase.determiner, phrase.determiner) if phrase.plural else phrase.determiner
    return "an" if determiner == "a" and rest[0][0] in "aeiou" else determiner, *rest


def german_phrase(phrase: Phrase, case: str) -> Constituent:
    """Return a noun with its determiner and adjective in German."""
    noun = NOUNS[phrase.noun]
    place = GENDERS.index("p" if phrase.plural else noun.gender)
    determiner, endings = {
        "the": (THE[case][place], WEAK),
        "this": ("dies" + STRONG[case][place], WEAK),
        "a": ("ein" + BARE[case][place], MIXED),
        "my": ("mein" + BARE[case][place], MIXED),
    }.get(phrase.determiner) or (NUMBERS[phrase.determiner], STRONG)
    adjective = ADJECTIVES[phrase.adjective] + endings[case][place] if phrase.adjective else ""
    plural = noun.dative if case == "dative" else noun.german_plural
    return tuple(filter(None, (determiner, adjective, plural if phrase.plural else noun.german)))


def english_verbs(sentence: Sentence, plural: bool) -> list[tuple[str, str]]:
    """Return every finite verb with the infinitive or participle that it has, if any: one for most sentences."""
    verb, tense = _VERBS[sentence.verb], sentence.tense
    if tense == "present":
        return [(verb.english if plural else verb.english_s, "")]
    if tense in MODALS:
        return [(tense, verb.english)]
    perfect = [("have" if plural else "has", verb.english_participle)]
    return [(verb.english_past, ""), *(perfect if tense == "perfect" and not sentence.time else [])]


def german_verbs(sentence: Sentence, plural: bool) -> list[tuple[str, str]]:
    """Return every finite verb with the infinitive or participle that it has; for the past, first the perfect."""
    verb, tense = _VERBS[sentence.verb], sentence.tense
    if tense == "present":
        return [(verb.german if plural else verb.german_s, "")]
    if tense in MODALS:
        return [(MODALS[tense][plural], verb.german)]
    return [("haben" if plural else "hat", verb.participle), (verb.past_p if plural else verb.past_s, "")]


def english_parts(sentence: Sentence, verbs: tuple[str, str]) -> Parts:
    """Return the constituents of an English sentence, with these verbs."""
    companion = sentence.companion and (*sentence.preposition.split(), *english_phrase(sentence.companion))
    subject, object_ = english_phrase(sentence.subject), english_phrase(sentence.object)
    return _parts(subject, verbs, object_, companion, sentence.time)


def german_parts(sentence: Sentence, verbs: tuple[str, str], *, cases: bool = True) -> Parts:
    """Return the constituents of a German sentence, with these verbs; without ``cases``, all in the nominative."""
    subject = german_phrase(sentence.subject, "nominative")
    object_ = german_phrase(sentence.object, "accusative" if cases else "nominative")
    companion: Constituent | None = None
    if sentence.companion is not None:
        preposition, case = PREPOSITIONS[sentence.preposition]
        companion = preposition, *german_phrase(sentence.companion, case if cases else "nominative")
    return _parts(subject, verbs, object_, companion, _TIMES.get(sentence.time, ""))


def _parts(
    subject: Constituent, verbs: tuple[str, str], object_: Constituent, companion: Constituent | None, time: str
) -> Parts:
    finite, other = verbs
    return {
        "S": (subject,),
        "V": ((finite,),),
        "I": ((other,),) if other else (),
        "O": (object_,),
        "P": (companion,) if companion else (),
        "T": (tuple(time.split()),) if time else (),
    }


def english_orders(parts: Parts) -> list[str]:
    """Return the roles of a sentence in every order that English allows: time or phrase first, or all at the end."""
    orders = ["SVIOPT", "SVIOTP", "TSVIOP", "PSVIOT"]
    return list(dict.fromkeys(present(order, parts) for order in orders))


def german_orders(sentence: Sentence, parts: Parts) -> list[str]:
    """Return the roles of a sentence in every order that German allows.

    The finite verb is second, the infinitive or participle last. In front stands any other constituent, the object only
    where nobody takes it for the subject. The subject follows at once if it is not in front, and then come time, object
    and phrase, the time before the phrase.
    """
    subject, object_ = sentence.subject, sentence.object
    plain = any(not each.plural and NOUNS[each.noun].gender == "m" for each in (subject, object_))
    fronts = ("S", "T", "P", *(["O"] if plain or subject.plural != object_.plural else []))
    middles = [order for order in map("".join, permutations("TOP")) if order.index("T") < order.index("P")]
    found = (
        present(f"{front}V{''.join(role for role in f'S{middle}' if role != front)}I", parts)
        for front in fronts
        if parts[front]
        for middle in middles
    )
    return list(dict.fromkeys(found))


def present(order: str, parts: Parts) -> str:
    """Return an order without the roles that a sentence does not have."""
    return "".join(role for role in order if parts[role])


def arranged(parts: Parts, order: str) -> Form:
    """Return the constituents in an order, the first word with a capital."""
    first, *rest = (constituent for role in order for constituent in parts[role])
    return (first[0][0].upper() + first[0][1:], *first[1:]), *rest


def translations(sentence: Sentence, language: str) -> list[Form]:
    """Return all correct sentences of a language, ``"German"`` or ``"English"``, that say it."""
    plural = sentence.subject.plural
    if language == "English":
        both = [english_parts(sentence, verbs) for verbs in english_verbs(sentence, plural)]
        return [arranged(parts, order) for parts in both for order in english_orders(parts)]
    both = [german_parts(sentence, verbs) for verbs in german_verbs(sentence, plural)]
    return [arranged(parts, order) for parts in both for order in german_orders(sentence, parts)]


def text_of(form: Sequence[Constituent]) -> str:
    """Return a sentence as it is written."""
    return " ".join(word for constituent in form for word in constituent) + "."
