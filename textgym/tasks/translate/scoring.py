"""The gold score of translations: alignment with every correct one, constituent by constituent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from textgym.tasks.translate import lexicon
from textgym.tasks.translate.grammar import Constituent, Form, Sentence, translations

_TOKEN = re.compile(r"[^\W\d_]+|[^\s.,]")
_END = "."
_NO_END = 0.9
_OTHER_FORM = 0.5
_FAULTY = 0.5
T = TypeVar("T")


def score(text: str, sentence: Sentence, language: str) -> float:
    """Return the adequacy of a translation into ``language``, in [0, 1]: 1 for every correct one, and for no other.

    The text is parsed into constituents, which are aligned in order with those of the correct translation that it is
    nearest to. A constituent that is right counts 1. One with the right noun or verb but a fault counts half the share
    of its words that are right, where another form of the right word counts half. The sum is divided by the number of
    constituents that there should be, or that there are if these are more; without a full stop, it is a tenth less.
    """
    found = constituents(text, language)
    if not found:
        return 0.0
    best = max(_alignment(found, form, language) for form in _correct(sentence, language))
    return best * (1.0 if text.rstrip().endswith(_END) else _NO_END)


@lru_cache(maxsize=4096)
def _correct(sentence: Sentence, language: str) -> list[Form]:
    return translations(sentence, language)


def constituents(text: str, language: str) -> Form:
    """Parse a text: a noun closes what belongs to it; verbs, times and unknown words are constituents of their own."""
    tokens, found, at = _TOKEN.findall(text), list[Constituent](), 0
    kinds = _kinds(language)
    opened = list[str]()
    while at < len(tokens):
        pair = " ".join(tokens[at : at + 2]).lower()
        width = 2 if kinds.get(pair) == "time" else 1
        kind = "time" if width == 2 else kinds.get(tokens[at].lower(), "unknown")
        if kind in ("noun", "belongs"):
            opened.append(tokens[at])
        if opened and kind != "belongs":
            found.append(tuple(opened))
            opened.clear()
        if kind not in ("noun", "belongs"):
            found.append(tuple(tokens[at : at + width]))
        at += width
    return (*found, *([tuple(opened)] if opened else []))


def _alignment(found: Form, correct: Form, language: str) -> float:
    value = _common(found, correct, lambda one, other: _credit(one, other, language))
    return value / max(len(found), len(correct))


@lru_cache(maxsize=65536)
def _credit(found: Constituent, right: Constituent, language: str) -> float:
    if found == right:
        return 1.0
    if not _alike(found[-1], right[-1], language):
        return 0.0
    same = _common(found, right, lambda one, other: _alike(one, other, language))
    return _FAULTY * same / max(len(found), len(right))


def _alike(found: str, right: str, language: str) -> float:
    """1 for the same word, a half for another form of it, else 0."""
    lemmas = _lemmas(language)
    other = lemmas.get(found.lower(), found.lower()) == lemmas.get(right.lower(), right.lower())
    return 1.0 if found == right else _OTHER_FORM * other


def _common(first: Sequence[T], second: Sequence[T], worth: Callable[[T, T], float]) -> float:
    """Return the greatest sum of the worths of pairs that stand in the same order in both."""
    above = [0.0] * (len(second) + 1)
    for one in first:
        row = [0.0]
        for place, other in enumerate(second):
            row.append(max(row[-1], above[place + 1], above[place] + worth(one, other)))
        above = row
    return above[-1]


@lru_cache(maxsize=2)
def _lemmas(language: str) -> Mapping[str, str]:
    """Every form of every word, in lower case -> the word."""
    return {form.lower(): word for _, word, forms in _words(language) for form in forms}


@lru_cache(maxsize=2)
def _kinds(language: str) -> Mapping[str, str]:
    """Every form of every word, and every expression of time, in lower case -> its kind."""
    return {form.lower(): kind for kind, _, forms in _words(language) for form in forms}


def _words(language: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield kind, name and forms of every word of a language."""
    yield from _english_words() if language == "English" else _german_words()


def _english_words() -> Iterator[tuple[str, str, Sequence[str]]]:
    for noun in (*lexicon.PERSONS, *lexicon.THINGS, *lexicon.PLACES):
        yield "noun", noun.english, noun[:2]
    for verb in lexicon.VERBS:
        yield "verb", verb.english, verb[:4]
    yield "verb", "have", ("have", "has")
    yield from (("verb", modal, (modal,)) for modal in lexicon.MODALS)
    for forms in (("the",), ("a", "an"), ("this", "these"), ("my",), *((word,) for word in lexicon.NUMBERS)):
        yield "belongs", forms[0], forms
    yield from (("belongs", word, (word,)) for word in lexicon.ADJECTIVES)
    yield from (("belongs", word, (word,)) for phrase in lexicon.PREPOSITIONS for word in phrase.split())
    yield from (("time", time, (time,)) for times in lexicon.TIMES.values() for time in times)


def _german_words() -> Iterator[tuple[str, str, Sequence[str]]]:
    for noun in (*lexicon.PERSONS, *lexicon.THINGS, *lexicon.PLACES):
        yield "noun", noun.german, noun[3:]
    for verb in lexicon.VERBS:
        yield "verb", verb.german, verb[4:]
    yield "verb", "haben", ("haben", "hat")
    yield from (("verb", forms[1], forms) for forms in lexicon.MODALS.values())
    yield "belongs", "der", [form for row in lexicon.THE.values() for form in row]
    for stem, endings in (("dies", lexicon.STRONG), ("ein", lexicon.BARE), ("mein", lexicon.BARE)):
        yield "belongs", stem, [stem + ending for row in endings.values() for ending in row]
    yield from (("belongs", word, (word,)) for word in lexicon.NUMBERS.values())
    for word in lexicon.ADJECTIVES.values():
        yield "belongs", word, [word + ending for ending in ("", "e", "er", "en", "em", "es")]
    yield from (("belongs", word, (word,)) for word, _ in lexicon.PREPOSITIONS.values())
    yield from (("time", time, (time,)) for times in lexicon.TIMES.values() for time in times.values())
