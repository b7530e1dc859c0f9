"""The gold score of stories and poems: computed from the request, the grammar and the pronunciation of the words."""

from __future__ import annotations

from typing import NamedTuple

from textgym.tasks.story.grammar import Unit, lines_of, parts_of_story, read, rhyme, scheme_pairs, sentences_of
from textgym.types import Example

_MOST_SHARED = 1


class Scores(NamedTuple):
    """The gold score of a text and what it is made of, each in [0, 1].

    Attributes:
        words: Share of the words to use that stand in a fluent sentence or line.
        fluent: Share of sentences or lines that the grammar has and that say something new: no more than one word of
            theirs, articles and the like apart, has occurred before. Out of those asked for, or written if more.
        form: Likewise, the share of those that are fluent and as the form wants them: in a story, opening as their part
            of it does; in a poem, half for the metre and half for the rhyme.
        gold: ``words * (fluent + form) / 2`` for a story, ``words * (fluent + 2 * form) / 3`` for a poem.
    """

    words: float
    fluent: float
    form: float
    gold: float


def units_of(text: str, form: str) -> list[str]:
    """Return the lines of a poem, the sentences of a story."""
    return lines_of(text) if form == "poem" else sentences_of(text)


def score(text: str, example: Example) -> Scores:
    """Score a text by what an example asks for."""
    extra, count = example.extra, int(example.extra["count"])
    units = [read(unit, extra["genre"]) for unit in units_of(text, extra["form"])]
    kept = _new(units)[:count]
    is_poem = extra["form"] == "poem"
    forms = _forms_of_poem(units, extra["scheme"]) if is_poem else _forms_of_story(units, count)
    used = set[str]().union(*(unit.content for unit, good in zip(units, kept, strict=False) if good))
    words = sum(word in used for word in extra["words"]) / len(extra["words"])
    size = max(count, len(units))
    fluent = sum(kept) / size
    form = sum(part for part, good in zip(forms, kept, strict=False) if good) / size
    return Scores(words, fluent, form, words * (fluent + 2 * form) / 3 if is_poem else words * (fluent + form) / 2)


def _new(units: list[Unit]) -> list[bool]:
    """Return which sentences or lines are fluent and say something new."""
    seen, kept = set[str](), []
    for unit in units:
        kept.append(unit.fluent and len(unit.content & seen) <= _MOST_SHARED)
        seen |= unit.content
    return kept


def _forms_of_story(units: list[Unit], count: int) -> list[float]:
    """Return whether each sentence opens as its part of the story does."""
    return [float(unit.part == part) for unit, part in zip(units, parts_of_story(count), strict=False)]


def _forms_of_poem(units: list[Unit], scheme: str) -> list[float]:
    """Return for each line of the scheme 1/2 for its metre and 1/2 for its rhyme."""
    pairs = [pair for pair in scheme_pairs(scheme) if pair[1] < len(units)]
    rhyming = {
        place for first, second in pairs if rhyme(units[first].end, units[second].end) for place in (first, second)
    }
    numbered = zip(range(len(scheme)), units, strict=False)
    return [(unit.metrical + (place in rhyming)) / 2 for place, unit in numbered]
