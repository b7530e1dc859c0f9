"""The gold score of the built-in tables: which rows a report states, computed from the wordings and never learned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from textgym.tasks.report.generator import plain
from textgym.tasks.report.lexicon import INVENTIONS, KINDS, Forms, Wording

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[.!?]|[^\w\s,]|_")
_CORE = re.compile(r"\[(.*?)\]")
_STOPS = frozenset(".!?")
_NEGATORS = frozenset(
    ("not", "no", "never", "neither", "nor", "hardly", "without", "isn't", "isn’t", "doesn't", "doesn’t", "cannot")
)
_REACH = 2  # words between a negator and what it denies
_BASE_SHARE = 0.7
_FAULT = 0.9


class Mention(NamedTuple):
    """A row stated in a text; ``form`` names the way it is stated."""

    label: str
    value: str
    form: str
    denied: bool = False


class Report(NamedTuple):
    """The gold score of a report and what it is made of.

    Attributes:
        stated: Number of rows that are stated, name and type included.
        rows: Number of rows of the table whose value is known.
        invented: Number of different statements that the table does not make, or denies.
        repeated: Number of statements made before, the name aside.
        fluency: 1 for a text whose neighbouring words are neighbours in the corpus' own wordings, 0 where 70 % of them
            or fewer are; 0.9 times as much for each of: no capital at the start, no full stop at the end, "a" for "an".
        gold: ``max(stated - invented - repeated, 0) / rows * fluency``.
    """

    stated: int
    rows: int
    invented: int
    repeated: int
    fluency: float
    gold: float

    @property
    def complete(self) -> bool:
        """True where every row is stated in sentences, once, and nothing else."""
        return self.fluency > 0 and self.stated == self.rows and self.invented == self.repeated == 0


def score(text: str, facts: Mapping[str, str]) -> Report:
    """Return the gold score of a text about a table with these rows."""
    tokens = _tokens(text)
    mentions, abstract = scan(tokens)
    said = [(mention.label, mention.value, mention.denied) for mention in mentions]
    true = {(label, value.lower(), False) for label, value in facts.items()}
    stated, invented = len(true & set(said)), len(set(said) - true)
    told = [each for each in said if each[0] != "name"]
    repeated = len(told) - len(set(told))
    fluency = _fluency(text.strip(), tokens, abstract)
    gold = max(stated - invented - repeated, 0) / len(facts) * fluency
    return Report(stated, len(facts), invented, repeated, fluency, gold)


def scan(tokens: Sequence[str]) -> tuple[list[Mention], list[str]]:
    """Find all statements, longest first; also return the tokens with each statement replaced by its form."""
    phrases, longest = _phrases()
    mentions, abstract = list[Mention](), list[str]()
    at = 0
    while at < len(tokens):
        lengths = range(min(longest, len(tokens) - at), 0, -1)
        found = next((length for length in lengths if tuple(tokens[at : at + length]) in phrases), 0)
        if found:
            mention = phrases[tuple(tokens[at : at + found])]
            denied = not _NEGATORS.isdisjoint(abstract[-_REACH:])
            mentions.append(mention._replace(denied=denied))
            abstract.append(mention.form)
        else:
            abstract.append(tokens[at])
        at += found or 1
    return mentions, abstract


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in _TOKEN.findall(text)]


def _wordings() -> Iterator[tuple[str, str, Wording]]:
    """Yield label, value and wording of everything that can be stated, names and types apart."""
    rows = [row for kind in KINDS for row in kind.rows]
    yield from ((row.label, value, row.worded(value)) for row in rows for value in row.values)
    for number, invention in enumerate(INVENTIONS):
        yield "invention", str(number), Wording(says=(f"has {invention}",))


@lru_cache(maxsize=1)
def _phrases() -> tuple[Mapping[tuple[str, ...], Mention], int]:
    """Every statement as tokens, and the length of the longest."""
    found = dict[tuple[str, ...], Mention]()
    for kind in KINDS:
        for label, values in (("name", kind.names), ("type", kind.types)):
            found |= {tuple(_tokens(value)): Mention(label, value.lower(), f"<{label}>") for value in values}
    for label, value, wording in _wordings():
        for form in (*wording.before, *wording.after, *wording.says):
            (core,) = _CORE.findall(form)
            tokens = tuple(_tokens(core.format(v=value)))
            found[tokens] = Mention(label, value.lower(), _form(label, core))
    return found, max(map(len, found))


def _form(label: str, core: str) -> str:
    return f"<{label}: {core}>"


@lru_cache(maxsize=1)
def _language() -> frozenset[tuple[str, str]]:
    """All pairs of neighbours that the wordings allow, statements replaced by their forms."""
    places: dict[str, list[list[str]]] = {"before": [], "after": [], "says": []}
    for label, _, wording in _wordings():
        for place, pieces in places.items():
            forms: Forms = getattr(wording, place)
            pieces += [_abstract(label, form) for form in forms]
    pairs = {pair for pieces in places.values() for piece in pieces for pair in pairwise(piece)}
    start = {place: {piece[0] for piece in pieces} for place, pieces in places.items()}
    end = {place: {piece[-1] for piece in pieces} for place, pieces in places.items()}
    pairs |= {(".", "<name>"), ("<name>", "is"), ("is", "a"), ("a", "<type>"), ("<type>", "."), (".", "it")}
    pairs |= {("a", first) for first in start["before"]} | {(last, "<type>") for last in end["before"]}
    pairs |= {(last, first) for last in {"<type>", *end["after"]} for first in start["after"]}
    pairs |= {(last, first) for last in ("it", "and") for first in start["says"]}
    pairs |= {(last, ".") for last in end["after"] | end["says"]} | {(last, "and") for last in end["says"]}
    return frozenset(pairs)


def _abstract(label: str, wording: str) -> list[str]:
    """Return the tokens of a wording with the statement replaced by its form."""
    head, core, tail = _CORE.split(wording)
    return [*_tokens(plain(head)), _form(label, core), *_tokens(tail)]


def _fluency(text: str, tokens: Sequence[str], abstract: Sequence[str]) -> float:
    """Share of neighbours that the wordings know, above 70 %; lower for faults of form."""
    if not abstract:
        return 0.0
    words = ["." if token in _STOPS else "a" if token == "an" else token for token in abstract]
    pairs = list(pairwise([".", *words, *([] if words[-1] == "." else ["."])]))
    share = sum(pair in _language() for pair in pairs) / len(pairs)
    faults = (not text[:1].isupper()) + (text[-1] not in _STOPS) + _wrong_articles(tokens)
    return float(max((share - _BASE_SHARE) / (1 - _BASE_SHARE), 0.0) * _FAULT**faults)


def _wrong_articles(tokens: Sequence[str]) -> int:
    """Number of "a" before a vowel, and of "an" before none."""
    return sum(first in ("a", "an") and (first == "an") != (second[0] in "aeiou") for first, second in pairwise(tokens))
