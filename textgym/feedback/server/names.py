"""Names that people choose: one alphabet each, and none that looks like somebody else's.

References:
    Unicode Technical Standard 39, "Unicode Security Mechanisms", for which scripts are written beside each other, and
    for letters that look alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from textgym.feedback.server.text import visible_text

_LONGEST = 80
_MARKS = ("(excluded)", "(blocked)")  # of names in tables of the owner
_EAST_ASIAN = "East Asian"
_OF_EAST_ASIA = {"Cjk", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Ideographic", "Katakana-hiragana"}
"""First words of the names of letters in scripts that are written beside each other, and beside Latin letters."""
_LIKE_LATIN = str.maketrans(
    "АВЕЅІЈКМНОРСТУХҮԚԜаеѕіјкорсухүһӏԁԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϳαγικνορτυχϲ" + "ıɑɡI1|0",
    "ABESIJKMHOPCTYXYQWaesijkopcyxyhldqw" + "ABEZHIKMNOPTYXCjayiKvoptuxc" + "iaglllo",
)
"""Cyrillic, Greek and other letters, and digits, by the Latin letter that they look like."""


def clean_name(name: str) -> str:
    """Return a name as it is kept: look-alikes such as full-width letters are one."""
    return unicodedata.normalize("NFKC", name).strip()


def check_name(name: str, others: Iterable[str] = ()) -> None:
    """Refuse what is no name of a person, or could be taken for somebody else's.

    Args:
        name: A name.
        others: Names of others; the same name, letter by letter, is not refused.

    Raises:
        ValueError: Saying why, to the person who chose it.
    """
    if not name or len(name) > _LONGEST or not name.isprintable() or visible_text(name) != name:
        raise ValueError(f"A name needs 1 to {_LONGEST} visible characters; choose another.")
    if name.casefold().endswith(_MARKS):
        raise ValueError(f"A name cannot end with {' or '.join(_MARKS)}, as the owner's tables do; choose another.")
    others = set(others)
    if name in others:  # who comes back
        return
    scripts = _scripts(name)
    if len(scripts) > 1 and scripts != {"Latin", _EAST_ASIAN}:
        raise ValueError(f"This name mixes {' and '.join(sorted(scripts))} letters; choose one in a single alphabet.")
    for other in sorted(others):
        if look_alike(name, other):
            raise ValueError(f"This name looks like {other!r}, which somebody else has; choose another.")


def look_alike(first: str, second: str) -> bool:
    """Return whether two names are the same, or hard to tell from each other.

    >>> look_alike("Anna", "\u0410nn\u0430"), look_alike("Anna", "Änna")
    (True, False)
    """
    return clean_name(first).casefold() == clean_name(second).casefold() or _latin(first) == _latin(second)


def _latin(name: str) -> str:
    return " ".join(clean_name(name).translate(_LIKE_LATIN).split()).casefold()


def _scripts(name: str) -> set[str]:
    """Return the scripts of the letters of a name; what is written together counts as one."""
    letters = (char for char in clean_name(name) if unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lo"))
    words = {unicodedata.name(char, "UNKNOWN").partition(" ")[0].capitalize() for char in letters}
    return {_EAST_ASIAN if word in _OF_EAST_ASIA else word for word in words}
