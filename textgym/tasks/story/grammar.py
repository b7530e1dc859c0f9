"""The sentences of the built-in stories and the lines of the built-in poems: how they are read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from textgym.tasks.story.lexicon import (
    BEGINNINGS,
    CLASSES,
    ENDINGS,
    MIDDLES,
    RHYME_OF,
    STRESS,
)

_NOUN_PHRASE = "D[Jj]?[AON]"
# What happens: to something, by itself, somewhere; or how something is.
_CLAUSE = re.compile(f"{_NOUN_PHRASE}(?:Q{_NOUN_PHRASE})?(?:V{_NOUN_PHRASE}j?|R?I(?:P{_NOUN_PHRASE})?|Bj)")
_WORD = re.compile(r"[A-Za-z]+")
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]+|[^.!?\n]+")
METRE = "x/" * 4
"""The metre of a line: four feet of an unstressed and a stressed syllable."""
_PARTS = {"beginning": BEGINNINGS, "middle": MIDDLES, "ending": ENDINGS}
_OWN = frozenset("JAO")
_CONTENT = frozenset("JjAONVIR")


class Unit(NamedTuple):
    """A sentence of a story or a line of a poem, as it is read.

    Attributes:
        fluent: Whether the grammar has it, with a word of the genre, and it ends with a full stop.
        content: Its words, without articles, prepositions and "was".
        metrical: Whether it has the metre.
        part: Part of a story that its first words belong to: ``"beginning"``, ``"middle"``, ``"ending"``, or ``""``.
        end: Its last word.
    """

    fluent: bool
    content: frozenset[str]
    metrical: bool
    part: str
    end: str


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text; what follows the last full stop is one too."""
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]


def read(unit: str, genre: str) -> Unit:
    """Return what a sentence or a line is.

    >>> read("The silver captain found the key.", "sea").metrical
    True
    >>> read("Soon the captain found a old key.", "sea")[:1]
    (False,)
    """
    part, rest = _without_opener(unit)
    words = [word.lower() for word in _WORD.findall(rest)]
    classes = CLASSES[genre]
    signs = "".join(classes.get(word, "?") for word in words)
    begun = unit[:1].isupper() and unit.endswith(".") and re.fullmatch(r"[A-Za-z ]+\.", rest) is not None
    fluent = begun and _CLAUSE.fullmatch(signs) is not None and not _OWN.isdisjoint(signs) and _articles_agree(words)
    content = frozenset(word for word, sign in zip(words, signs, strict=True) if sign in _CONTENT)
    stress = "".join(STRESS.get(sign, "?") for sign in signs)
    return Unit(fluent, content, stress == METRE and not part, part, words[-1] if words else "")


def _without_opener(unit: str) -> tuple[str, str]:
    """Return the part of a story that a sentence opens as, and what follows."""
    lowered = unit.lower()
    for part, openers in _PARTS.items():
        for opener in openers:
            if lowered.startswith(f"{opener} "):
                return part, unit[len(opener) + 1 :]
    return "", unit


def _articles_agree(words: Sequence[str]) -> bool:
    """Return whether "an" stands before vowels and "a" before other letters."""
    pairs = itertools.pairwise(words)
    return all((second[0] in "aeiou") == (first == "an") for first, second in pairs if first in ("a", "an"))


def rhyme(first: str, second: str) -> bool:
    """Return whether two end words rhyme: other words with the same sound from the stressed vowel on.

    >>> rhyme("sea", "tree"), rhyme("sea", "sea"), rhyme("sea", "captain")
    (True, False, False)
    """
    return first != second and first in RHYME_OF and RHYME_OF[first] == RHYME_OF.get(second)


def scheme_pairs(scheme: str) -> list[tuple[int, int]]:
    """Return which lines rhyme in a scheme such as ``"abab"``.

    >>> scheme_pairs("abab")
    [(0, 2), (1, 3)]
    """
    return [(first, second) for second, mark in enumerate(scheme) for first in range(second) if scheme[first] == mark]


def parts_of_story(count: int) -> list[str]:
    """Return the part that each of the sentences of a story is."""
    return ["beginning", *["middle"] * (count - 2), "ending"]
