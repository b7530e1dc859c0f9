"""What a genre is, and how its frames are unfolded into every wording they allow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

Group = tuple[str, ...]


@dataclass(frozen=True)
class Genre:
    """One kind of report.

    Attributes:
        name: Name of the genre.
        slots: Slot name -> kind of value (``"town"``, ``"thing:project"``, ``"count:20:900"``, ...). A slot called
            like a key with a ``2`` behind it holds a rival of that key: same kind, other value, not a key fact.
        keys: The four slots a good summary states.
        lead: Frames of the sentence that states the first two or more key facts.
        third, fourth: Frames of the sentences that state the other key facts.
        background: Groups of frames; a sentence of a group states a rival value or nothing of weight.
        summaries: Frames of summaries, with ``<stated {key}|left out>`` parts.
    """

    name: str
    slots: dict[str, str]
    keys: Group
    lead: Group
    third: Group
    fourth: Group
    background: tuple[Group, ...]
    summaries: Group


class Part(NamedTuple):
    """A piece of a summary: fixed text if ``key`` is empty, else the fact in words, or what stands in its place."""

    key: str
    text: str
    without: str


_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_PART = re.compile(r"<([^<>|]*)\|([^<>|]*)>")
_SLOT = re.compile(r"\{(\w+)\}")


@cache
def unfold(frame: str) -> Group:
    """Return every wording of a frame: ``"(a|b) c"`` -> ``("a c", "b c")``; choices may be nested."""
    found = _CHOICE.search(frame)
    if found is None:
        return (frame,)
    head, tail = frame[: found.start()], frame[found.end() :]
    return tuple(text for option in found[1].split("|") for text in unfold(head + option + tail))


@cache
def summary_parts(wording: str) -> tuple[Part, ...]:
    """Split an unfolded summary frame at its optional parts."""
    parts: list[Part] = []
    cursor = 0
    for found in _PART.finditer(wording):
        parts.append(Part("", wording[cursor : found.start()], ""))
        parts.append(Part(part_key(found[1]), found[1], found[2]))
        cursor = found.end()
    parts.append(Part("", wording[cursor:], ""))
    return tuple(part for part in parts if part.key or part.text)


def part_key(text: str) -> str:
    """The slot that an optional part is about (its last one)."""
    return str(_SLOT.findall(text)[-1])


def fill(text: str, values: dict[str, str]) -> str:
    """Put values into slots and capitalise the first letter."""
    filled: str = text.format_map(values)
    return filled[:1].upper() + filled[1:]


def omissions(keys: Group) -> list[frozenset[str]]:
    """Every choice of at most two keys to leave out."""
    pairs = {frozenset(pair) for pair in product(keys, keys)}
    return [frozenset(), *sorted(pairs, key=sorted)]
