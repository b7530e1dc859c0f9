"""The gold score of recommendations: what was chosen, and whether the reasons given for it are true and matter."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

from textgym.tasks.recommendation.lexicon import ACCEPTED, FLATTERY, ONE, TITLES, TWO, VALUES

BESIDE_THE_POINT = 0.5
"""Worth of a reason that is true but does not matter to the user."""
_NEGATORS = frozenset(("not", "no", "never", "neither", "nor", "isn't", "isn’t", "without", "hardly"))
_REACH = 2  # words between a negator and what it denies
_LIKING = frozenset(["like", "liked", "likes", "love", "loved", "loves", "enjoy", "enjoyed", "enjoys", "rated"])
_VERBS = _LIKING | frozenset(["is", "are", "was"])
_BASE_SHARE = 0.7
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[.:!?]|[^\w\s,]|_")
_SLOTS = {"first": "<film>", "second": "<film>", "reason": "<value>"}


class Named(NamedTuple):
    """A place in a text that names a film (``kind`` is ``"film"``), a value, or is any other word (``"word"``)."""

    kind: str
    text: str


class Answer(NamedTuple):
    """A recommendation as it was read.

    Attributes:
        ranking: Films that are recommended, in the order in which it is named.
        chosen: The candidates among these; anything else is not in the catalogue.
        value: Worth of the chosen ones to the user, from 0 for the worst choice to 1 for the best; 0 where more
            are named than were asked for, or one from outside the catalogue.
        reasons: Worth of each reason: 1 for a true one that matters to the user, 0.5 for another true one, 0 for one
            that is not true, or was given before.
        flatters: True where something is said that may be said of any film.
        fluency: 1 for sentences as the corpus has them, down to 0 for anything else; 1 on other data.
    """

    ranking: tuple[str, ...]
    chosen: tuple[str, ...]
    value: float
    reasons: tuple[float, ...]
    flatters: bool
    fluency: float

    @property
    def explanation(self) -> float:
        """The mean worth of the reasons; 0 where there are none."""
        return sum(self.reasons) / len(self.reasons) if self.reasons else 0.0

    @property
    def gold(self) -> float:
        """The true quality: ``value * explanation * fluency``."""
        return self.value * self.explanation * self.fluency


def read(text: str, extra: Mapping[str, Any]) -> Answer:
    """Read a recommendation.

    Args:
        text: The recommendation.
        extra: Facts about its example: ``items`` (candidate -> its values), ``preferences`` (candidate -> number),
            ``weights`` (value -> number, above 0 where it matters), ``seen`` (films of the history), ``count`` (of
            films to recommend), and ``corpus``, if it is of the built-in one, whose titles and sentences are known.
    """
    items, preferences, count = extra["items"], extra["preferences"], extra["count"]
    built_in = "corpus" in extra
    known = (TITLES, (*VALUES, *FLATTERY)) if built_in else ((*items, *extra["seen"]), _values(extra))
    parts = list(_parts(text, *known))
    ranking = tuple(dict.fromkeys(part.text for part in _recommended(parts, set(extra["seen"]))))
    chosen = tuple(title for title in ranking if title in items)
    value = 0.0
    if 0 < len(chosen) == len(ranking) <= count:
        value = choice_value([preferences[title] for title in chosen], preferences.values(), count)
    fluency = _fluency(parts) if built_in else 1.0
    flatters = any(part.text in FLATTERY for part in parts)
    return Answer(ranking, chosen, value, tuple(_reasons(parts, extra, chosen)), flatters, fluency)


def choice_value(chosen: Sequence[float], among: Collection[float], count: int) -> float:
    """Return what a ranking is worth, from 0 for the worst one to 1 for the best: its discounted gain.

    A place that is left empty counts as the worst item.

    >>> choice_value([1], [2, 1, 0], 1), choice_value([2], [2, 1, 0], 2), choice_value([0, 1], [2, 1, 0], 2)
    (0.5, 0.6934264036172708, 0.0)
    """
    worst = sorted(among)
    reached = _discounted([*chosen, *[worst[0]] * (count - len(chosen))])
    low, high = _discounted(worst[:count]), _discounted(worst[::-1][:count])
    return max(0.0, (reached - low) / (high - low)) if high > low else 1.0


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place) for place, gain in enumerate(gains, start=2))


def _values(extra: Mapping[str, Any]) -> tuple[str, ...]:
    return (*extra["weights"], *chain.from_iterable(extra["items"].values()), *FLATTERY)


def _recommended(parts: Sequence[Named], seen: Collection[str]) -> Iterator[Named]:
    """Yield the films that a text recommends: not those of the history that it says were liked."""
    liking = False
    for part in parts:
        liking = liking or part.text.lower() in _LIKING
        if part.kind == "film" and not (liking and part.text in seen):
            yield part


def _reasons(parts: Sequence[Named], extra: Mapping[str, Any], chosen: Sequence[str]) -> Iterator[float]:
    """Yield the worth of each reason: it is about the candidate named last before it, or else about the first."""
    about, told = chosen[0] if chosen else None, set[tuple[str | None, str]]()
    for place, part in enumerate(parts):
        if part.kind == "film" and part.text in extra["items"]:
            about = part.text
        elif part.kind == "value":
            denied = any(each.text.lower() in _NEGATORS for each in parts[max(0, place - _REACH) : place])
            true = about is not None and part.text in extra["items"][about] and not denied
            matters = extra["weights"].get(part.text, 0) > 0
            new = (about, part.text) not in told
            told.add((about, part.text))
            yield (1.0 if matters else BESIDE_THE_POINT) if true and new else 0.0


def _parts(text: str, titles: Sequence[str], values: Sequence[str]) -> Iterator[Named]:
    """Cut a text into films, values and other words, whatever their capitals; the longest names first."""
    named, kinds = _pattern(tuple(titles), tuple(values))
    at = 0
    for found in named.finditer(text):
        yield from (Named("word", word) for word in _WORD.findall(text[at : found.start()]))
        yield kinds[found[0].lower()]
        at = found.end()
    yield from (Named("word", word) for word in _WORD.findall(text[at:]))


@lru_cache(maxsize=1024)
def _pattern(titles: tuple[str, ...], values: tuple[str, ...]) -> tuple[re.Pattern[str], Mapping[str, Named]]:
    kinds = {value.lower(): Named("value", value) for value in values}
    kinds |= {title.lower(): Named("film", title) for title in titles}
    names = "|".join(re.escape(name) for name in sorted(kinds, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE), kinds


def _fluency(parts: Sequence[Named]) -> float:
    """Return 1 where all neighbours are neighbours in the wordings, 0 where 70 % are or there is no verb."""
    tokens = [part.text.lower() if part.kind == "word" else f"<{part.kind}>" for part in parts]
    if _VERBS.isdisjoint(tokens):
        return 0.0
    pairs = list(pairwise(["", *tokens, ""]))
    share = sum(pair in _language() for pair in pairs) / len(pairs)
    return max(0.0, (share - _BASE_SHARE) / (1 - _BASE_SHARE))


@lru_cache(maxsize=1)
def _language() -> frozenset[tuple[str, str]]:
    """All pairs of neighbours that the wordings allow, films and values replaced by their kind; "" is the border."""
    found = set[tuple[str, str]]()
    for wording in (*ONE, *TWO, *ACCEPTED):
        cut = re.split(r"(\{\w+\})", wording)
        tokens = chain.from_iterable([_SLOTS[each[1:-1]]] if each[:1] == "{" else _WORD.findall(each) for each in cut)
        found.update(pairwise(["", *(token.lower() for token in tokens), ""]))
    return frozenset({*found, ("<value>", "and"), ("and", "<value>")})
