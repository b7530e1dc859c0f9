"""The gold score of the built-in corpus: how good a summary is, computed from the facts and never learned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from textgym.data.draws import Draws
from textgym.metrics.words import count_words
from textgym.tasks.summarization.reports import lexicon
from textgym.tasks.summarization.reports.frames_people import FILLERS
from textgym.tasks.summarization.reports.generator import GENRES, Facts, draw_value
from textgym.tasks.summarization.reports.genre import Genre, fill, omissions, summary_parts, unfold
from textgym.tasks.summarization.reports.keys import facts
from textgym.types import Example, FloatArray

_TOKEN = re.compile(r"\$?\d+(?:,\d{3})*(?:\.\d+)?|[^\W\d_]+(?:['’][^\W\d_]+)?|[.!?,;:]|[^\w\s\"'“”‘’()-]|_")
_NUMBER = re.compile(r"\$?\d[\d,.]*")
_STOPS = frozenset(".!?")
_PAUSES = frozenset(",;:")
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_PERIODS = {word: word.rstrip("s") + "s" for unit in ("day", "week", "month", "year") for word in (unit, unit + "s")}
_MONTHS = frozenset(month.lower() for month in lexicon.MONTHS)
_SPELLED = "three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_SPELLED.split(), start=3)}
_FULL_WORDS, _ZERO_WORDS = 26, 60
_LONGEST = 5  # words in the longest value, "joint head of research" and the like
_BASE_SHARE = 0.6
_INVENTED_COST = 0.25


class GoldParts(NamedTuple):
    """The gold score and what it is made of.

    Attributes:
        coverage: Share of the four key facts that are stated, 0-1.
        invented: Number of names, places, things, numbers and dates that are not key facts of the document.
        brevity: 1 up to 26 words, falling to 0 at 60.
        fluency: 1 for text whose word pairs the writers of the corpus use, 0-1; lower for unknown words, repeated
            phrases, a missing capital or full stop. It knows the corpus' own language only, not all good English.
        gold: ``clip(coverage - 0.25 * invented, 0, 1) * (0.25 + 0.75 * fluency) * brevity``.
    """

    coverage: float
    invented: int
    brevity: float
    fluency: float
    gold: float


class Mention(NamedTuple):
    """A value found in a text; ``extra`` may be missing there (a surname alone, a thing without its modifier)."""

    kind: str
    core: str
    extra: str = ""


_Phrases = dict[tuple[str, ...], Mention]


class _Language(NamedTuple):
    """Word pairs and words of the frames, with values replaced by their kinds."""

    pairs: frozenset[tuple[str, str]]
    words: frozenset[str]


def gold(responses: Sequence[str], items: Sequence[str | Example]) -> FloatArray:
    """True quality of summaries.

    Args:
        responses: ``n`` texts.
        items: The ``n`` examples they summarise, or the examples' keys.

    Returns:
        Array of shape ``(n,)``, each in [0, 1].

    Raises:
        ValueError: The two lengths differ.
        KeyError: A key names no item of the corpus.
    """
    if len(responses) != len(items):
        raise ValueError(f"expected one item per response, got {len(responses)} and {len(items)}; pair them up")
    scores = [gold_parts(text, item).gold for text, item in zip(responses, items, strict=True)]
    return np.array(scores, dtype=np.float64)


def gold_parts(response: str, item: str | Example) -> GoldParts:
    """The gold score of one summary and its parts."""
    tokens = _tokens(response)
    words = max(sum(token not in _STOPS and token not in _PAUSES for token in tokens), count_words(response))
    mentions, abstract = _scan(tokens)
    covered, invented = _compare(mentions, _key_mentions(facts(item)))
    brevity = min(max((_ZERO_WORDS - words) / (_ZERO_WORDS - _FULL_WORDS), 0.0), 1.0)
    fluency = _fluency(response.strip(), abstract, [token for token in tokens if token.isalpha()])
    truth = min(max(covered - _INVENTED_COST * invented, 0.0), 1.0)
    return GoldParts(covered, invented, brevity, fluency, truth * (0.25 + 0.75 * fluency) * brevity)


def is_success(response: str, item: str | Example) -> bool:
    """Return whether all four key facts are stated and nothing else is invented."""
    mentions, _ = _scan(_tokens(response))
    covered, invented = _compare(mentions, _key_mentions(facts(item)))
    return covered == 1.0 and invented == 0


def _tokens(text: str) -> list[str]:
    found = (token.removesuffix("'s").removesuffix("’s") for token in _TOKEN.findall(text.lower()))
    return [_NUMBER_WORDS.get(token, token) for token in found]


@lru_cache(maxsize=4096)
def _key_mentions(known: Facts) -> tuple[Mention, ...]:
    return tuple(_scan(_tokens(fact.value))[0][0] for fact in known.keys)


def _compare(mentions: Sequence[Mention], keys: Sequence[Mention]) -> tuple[float, int]:
    """Share of keys that are stated, and number of distinct mentions that agree with no key."""
    stated = [any(_agrees(mention, key) for mention in mentions) for key in keys]
    invented = {mention for mention in mentions if not any(_fits(mention, key) for key in keys)}
    return sum(stated) / len(keys), len(invented)


def _agrees(mention: Mention, key: Mention) -> bool:
    return mention.core == key.core and _fits(mention, key)


def _fits(mention: Mention, key: Mention) -> bool:
    """Not at odds with the key: a right first name alone states nobody, but invents nobody either."""
    return mention.kind == key.kind and mention.core in ("", key.core) and mention.extra in ("", key.extra)


def _scan(tokens: Sequence[str]) -> tuple[list[Mention], list[str]]:
    """Find all values, longest first; also return the tokens with each value replaced by its kind."""
    phrases = _phrases()
    mentions: list[Mention] = []
    abstract: list[str] = []
    at = 0
    while at < len(tokens):
        length, mention = _mention_at(tokens, at, phrases)
        if mention is None:
            abstract.append(tokens[at])
        else:
            mentions.append(mention)
            abstract.append(f"<{mention.kind}>")
        at += length
    return mentions, abstract


def _mention_at(tokens: Sequence[str], at: int, phrases: _Phrases) -> tuple[int, Mention | None]:
    """The value that begins at a token, and how many tokens it takes."""
    token = tokens[at]
    if _NUMBER.match(token):
        return _number(token, tokens[at + 1] if at + 1 < len(tokens) else "")
    if token in _MONTHS:
        day = tokens[at + 1] if at + 1 < len(tokens) and tokens[at + 1].isdigit() else ""
        return (2 if day else 1), Mention("date", token, day)
    for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
        mention = phrases.get(tuple(tokens[at : at + length]))
        if mention is not None:
            return length, mention
    return 1, None


def _number(token: str, following: str) -> tuple[int, Mention]:
    """An amount, a span of time, a day of a month, or a plain number."""
    if following in _MONTHS:
        return 2, Mention("date", following, token)
    if following in _PERIODS:
        return 2, Mention("term", f"{token} {_PERIODS[following]}")
    value = float(token.strip("$").replace(",", "")) * _SCALES.get(following, 1.0)
    length = 2 if following in _SCALES or following == "dollars" else 1
    kind = "money" if token.startswith("$") or following == "dollars" else "count"
    return length, Mention(kind, repr(round(value, 2)))


@lru_cache(maxsize=1)
def _phrases() -> _Phrases:
    """Every way to write a person, town, organisation, thing or weekday, as tokens."""
    people: _Phrases = {(last.lower(),): Mention("person", last.lower()) for last in lexicon.LAST_NAMES}
    for first in (name.lower() for name in lexicon.FIRST_NAMES):
        people[(first,)] = Mention("person", "", first)
        people |= {(first, last.lower()): Mention("person", last.lower(), first) for last in lexicon.LAST_NAMES}
    towns: _Phrases = {(town.lower(),): Mention("town", town.lower()) for town in lexicon.TOWNS}
    days: _Phrases = {(day.lower(),): Mention("weekday", day.lower()) for day in lexicon.WEEKDAYS}
    return {**dict(_organisations()), **dict(_things()), **people, **towns, **days}


def _organisations() -> Iterator[tuple[tuple[str, ...], Mention]]:
    tails = [tail.lower() for group in lexicon.ORG_TAILS.values() for tail in group]
    for head in (head.lower() for head in lexicon.ORG_HEADS):
        yield (head,), Mention("org", head)
        yield from (((head, tail), Mention("org", head, tail)) for tail in tails)


def _things() -> Iterator[tuple[tuple[str, ...], Mention]]:
    for sort, things in lexicon.THINGS.items():
        for noun in things.nouns:
            yield tuple(_tokens(noun)), Mention(f"thing:{sort}", noun)
            for modifier in things.modifiers:
                yield tuple(_tokens(f"{modifier} {noun}")), Mention(f"thing:{sort}", noun, modifier)


def _fluency(text: str, abstract: Sequence[str], words: Sequence[str]) -> float:
    """Share of known word pairs, lowered by faults of form."""
    if not abstract:
        return 0.0
    language = _language()
    pairs = list(_pairs(abstract))
    share = sum(pair in language.pairs for pair in pairs) / max(len(pairs), 1)  # commas alone are no pair
    unknown = sum(token not in language.words for token in abstract if token.isalpha())
    trigrams = [tuple(words[at : at + 3]) for at in range(len(words) - 2)]
    repeated = len(trigrams) > len(set(trigrams))
    form = 0.8 ** (not text[:1].isupper() and text[:1].isalpha()) * 0.8 ** (not text.endswith((".", "!", "?")))
    return max((share - _BASE_SHARE) / (1 - _BASE_SHARE), 0.0) * form * 0.9**unknown * 0.6**repeated


def _pairs(abstract: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Neighbours within sentences; a sentence begins after and ends in a stop."""
    before = "."
    for token in abstract:
        if token not in _PAUSES:
            yield before, "." if token in _STOPS else token
            before = "." if token in _STOPS else token
    if before != ".":
        yield before, "."


@lru_cache(maxsize=1)
def _language() -> _Language:
    """All word pairs that the frames can produce, from every wording (about half a second, once)."""
    pairs: set[tuple[str, str]] = set()
    for text in _wordings():
        pairs.update(_pairs(_scan(_tokens(text))[1]))
    pairs.discard((".", "."))
    return _Language(frozenset(pairs), frozenset(word for pair in pairs for word in pair))


def _wordings() -> Iterator[str]:
    for genre in GENRES:
        values = _sample_values(genre)
        groups = (genre.lead, genre.third, genre.fourth, *genre.background)
        yield from (fill(text, values) for group in groups for frame in group for text in unfold(frame))
        yield from (fill(text, values) for frame in genre.summaries for text in _summary_wordings(frame, genre))
    yield from (text for frame in FILLERS for text in unfold(frame))


def _summary_wordings(frame: str, genre: Genre) -> Iterator[str]:
    for wording in unfold(frame):
        for omitted in omissions(genre.keys):
            yield "".join(p.without if p.key in omitted else p.text for p in summary_parts(wording))


def _sample_values(genre: Genre) -> dict[str, str]:
    draws = Draws(np.random.default_rng(0))
    values = {role: draw_value(draws, kind) for role, kind in genre.slots.items()}
    return values | {f"{role}_last": value.split()[-1] for role, value in values.items()}
