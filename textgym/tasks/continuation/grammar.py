"""The sentences of the built-in reviews: how an opinion is written, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.tasks.continuation.lexicon import DEGREES, DENIALS, FEELINGS, KINDS, LEADS, VERBS, Aspect, Kind

_SENTENCE = re.compile(r"[^.!?]*[.!?]+|[^.!?]+")
_LEAD_OF = {phrase: sign for sign, phrases in LEADS.items() for phrase in phrases}
_PERSONAL = re.compile(r"I (?:was (?P<feeling>\w+) with|(?P<verb>\w+)) the (?P<aspect>[\w ]+)")


class Opinion(NamedTuple):
    """An opinion: the side of the thing that it is about, and 1 for praise, -1 for blame."""

    aspect: str
    polarity: int


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text; what follows the last full stop is one too.

    >>> sentences_of("I came. I saw! It was")
    ['I came.', 'I saw!', 'It was']
    """
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]


def write(draws: Draws, aspect: Aspect, polarity: int) -> str:
    """Return a sentence that praises (1) or blames (-1) an aspect."""
    clause = _personal(draws, aspect, polarity) if draws.chance(0.3) else _impersonal(draws, aspect, polarity)
    if draws.chance(0.25):
        lead = draws.pick(LEADS[polarity if draws.chance(0.6) else 0])
        clause = f"{lead}, {clause}"
    return f"{clause[0].upper()}{clause[1:]}."


def _personal(draws: Draws, aspect: Aspect, polarity: int) -> str:
    words = VERBS if draws.chance(0.5) else FEELINGS
    word = draws.pick([each for each, own in words.items() if own == polarity])
    return f"I {word} the {aspect.name}" if words is VERBS else f"I was {word} with the {aspect.name}"


def _impersonal(draws: Draws, aspect: Aspect, polarity: int) -> str:
    same, other = (aspect.good, aspect.bad)[::polarity]
    form = draws.uniform()
    if form < 0.25:
        predicate = f"{draws.pick(DENIALS)} {draws.pick(other)}"
    elif form < 0.5:
        predicate = f"{draws.pick(DEGREES)} {draws.pick(same)}"
    elif form < 0.75:
        predicate = " and ".join(draws.sample(same, 2))
    else:
        predicate = draws.pick(same)
    return f"the {aspect.name} {aspect.verb} {predicate}"


def read(sentence: str, kind: str) -> Opinion | None:
    """Return the opinion that a sentence states about a thing of a kind; ``None`` if it is no sentence of the grammar.

    >>> read("Sadly, the staff were anything but polite.", "hotel")
    Opinion(aspect='staff', polarity=-1)
    >>> read("The staff was polite.", "hotel"), read("Sadly, the staff were polite.", "hotel")
    (None, None)
    """
    if not sentence.endswith(".") or not sentence[0].isupper():
        return None
    lead, clause = _without_lead(sentence[:-1])
    found = _read_personal(clause, KINDS[kind]) or _read_impersonal(clause, KINDS[kind])
    return None if found is None or lead == -found.polarity else found


def _without_lead(sentence: str) -> tuple[int, str]:
    """Return the polarity of the phrase at the beginning, 0 for none, and the clause behind it."""
    head, comma, rest = sentence.partition(", ")
    sign = _LEAD_OF.get(head[0].lower() + head[1:])
    if comma and sign is not None:
        return sign, rest
    return 0, sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]


def _read_personal(clause: str, kind: Kind) -> Opinion | None:
    found = _PERSONAL.fullmatch(clause)
    if found is None or found["aspect"] not in kind.aspects:
        return None
    sign = VERBS.get(found["verb"]) if found["verb"] else FEELINGS.get(found["feeling"])
    return None if sign is None else Opinion(found["aspect"], sign)


def _read_impersonal(clause: str, kind: Kind) -> Opinion | None:
    for aspect in kind.aspects.values():
        subject = f"the {aspect.name} {aspect.verb} "
        if clause.startswith(subject):
            sign = _predicate(clause[len(subject) :], aspect)
            return None if sign is None else Opinion(aspect.name, sign)
    return None


def _predicate(text: str, aspect: Aspect) -> int | None:
    """Return the polarity of what is said of an aspect; ``None`` if it cannot be said."""
    first, both, second = text.partition(" and ")
    if both:
        signs = {aspect.polarity.get(first), aspect.polarity.get(second)}
        return signs.pop() if len(signs) == 1 and first != second else None
    for flip, words in ((-1, DENIALS), (1, DEGREES)):
        for word in words:
            if text.startswith(f"{word} "):
                sign = aspect.polarity.get(text[len(word) + 1 :])
                return None if sign is None else flip * sign
    return aspect.polarity.get(text)


def opinions_of(text: str, kind: str) -> Iterator[Opinion | None]:
    """Yield for each sentence of a text the opinion that it states, or ``None``."""
    return (read(sentence, kind) for sentence in sentences_of(text))
