"""The grammar in which rewards are named: ``[WEIGHT*]NAME[?key=value&...]``, several of them with `` + `` between."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

TAUGHT = "[WEIGHT*]NAME[?key=value&...], such as 'learned', '0.2*length?target=20' or 'learned + 0.2*length'"
"""The grammar, for messages."""
_PLUS = " + "
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_KEY = re.compile(r"[^\W\d]\w*")
_SAFE = "/:.,~ "  # characters that a value may have as they are


@dataclass(frozen=True, slots=True)
class Term:
    """One reward of a sum, as it is named.

    Attributes:
        name: Its name, ``module:attribute`` or folder.
        weight: Its factor.
        options: Its arguments, as texts.
    """

    name: str
    weight: float = 1.0
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as :func:`parse_terms` reads it."""
        weight = "" if self.weight == 1.0 else f"{self.weight!r}*"
        options = "&".join(f"{key}={quote(value, safe=_SAFE)}" for key, value in self.options.items())
        return f"{weight}{self.name}{'?' if options else ''}{options}"


def parse_terms(text: str) -> list[Term]:
    """Read the terms of a sum.

    >>> parse_terms("learned + 0.2*length?target=20")
    [Term(name='learned', weight=1.0, options={}), Term(name='length', weight=0.2, options={'target': '20'})]

    Raises:
        ValueError: It is no such text.
    """
    return [_parse_term(part, text) for part in text.split(_PLUS)]


def join_terms(terms: Sequence[object]) -> str:
    """Return what several texts or terms are as one."""
    return _PLUS.join(map(str, terms))


def names_in(text: str) -> list[str]:
    """Return the names of all terms, without weights and options; of a text that is none, the text itself."""
    try:
        return [term.name for term in parse_terms(text)]
    except ValueError:
        return [text]


def _parse_term(part: str, text: str) -> Term:
    head, asked, tail = part.strip().partition("?")
    weight, times, name = head.partition("*")
    if not times:
        weight, name = "1", head
    name = name.strip()
    if not name or _NUMBER.fullmatch(weight.strip()) is None or not math.isfinite(float(weight)):
        raise ValueError(f"expected a reward as {TAUGHT}; got {text!r}")
    options = dict[str, str]()
    for pair in tail.split("&") if asked else ():
        key, equals, value = pair.partition("=")
        if not equals or _KEY.fullmatch(key) is None or key in options:
            what = f"{key!r} twice" if key in options else repr(pair)
            raise ValueError(f"expected key=value behind the '?' of a reward, got {what} in {text!r}; write {TAUGHT}")
        options[key] = unquote(value)
    return Term(name, float(weight), options)
