"""Texts of models as a page shows them: nothing in them is hidden, and what differs between two can be marked."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

_NO_DIFFERENCES_BEYOND = 5000  # words; looking for them would take seconds
# Printable by Unicode's rules, and yet nothing is seen of them: fillers, joiners and selectors.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xE0100, 0xE01F0))))
_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe0e\ufe0f"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKENS = re.compile(rf"\s+|[{_CJK}]|[^\W{_CJK}]+|[^\w\s]|.", re.DOTALL)


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: The characters; of a hidden one, a visible stand-in.
        hidden: Name of a hidden character; empty for others.
        differs: Whether it is in no other text.
    """

    text: str
    hidden: str = ""
    differs: bool = False


def visible_pieces(text: str) -> list[Piece]:
    r"""Cut a text where it has characters that are not seen, or that turn others around.

    Those are control characters, bidirectional and zero-width ones, lone surrogates, and unknown ones. Line ends, tabs,
    spaces of all widths, and joiners and selectors where they join or select something stay as they are.

    >>> [piece.text for piece in visible_pieces("pay\u202e10")]
    ['pay', 'U+202E', '10']
    """
    text = _one_line_end(text)
    return _cut(text, [False] * len(text))


def visible_text(text: str) -> str:
    """Return a text in which hidden characters are named in brackets, for places that hold no marks."""
    return "".join(f"[{piece.text}]" if piece.hidden else piece.text for piece in visible_pieces(text))


def differing_pieces(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Cut two texts into pieces; words that the other one lacks, in the order of both, are said to differ."""
    tokens = [_TOKENS.findall(_one_line_end(text)) for text in (first, second)]
    words = [[place for place, token in enumerate(row) if not token.isspace()] for row in tokens]
    shared: tuple[set[int], set[int]] = (set(words[0]), set(words[1]))
    if max(map(len, words)) <= _NO_DIFFERENCES_BEYOND:
        spoken = [[row[place] for place in places] for row, places in zip(tokens, words, strict=True)]
        blocks = SequenceMatcher(None, spoken[0], spoken[1]).get_matching_blocks()
        shared = (
            {words[0][block.a + step] for block in blocks for step in range(block.size)},
            {words[1][block.b + step] for block in blocks for step in range(block.size)},
        )
    return _marked(tokens[0], shared[0]), _marked(tokens[1], shared[1])


def plain(text: str) -> str:
    """Return a text for places that hold no marks, such as form fields: half surrogate pairs become ``?``."""
    return text.encode("utf-8", "replace").decode()


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n")


def _marked(tokens: Sequence[str], shared: set[int]) -> list[Piece]:
    """Mark the words that are not shared, and the spaces between two of them."""
    differs = [not token.isspace() and place not in shared for place, token in enumerate(tokens)]
    for place in range(1, len(tokens) - 1):
        differs[place] |= tokens[place].isspace() and differs[place - 1] and differs[place + 1]
    return _cut("".join(tokens), [flag for token, flag in zip(tokens, differs, strict=True) for _ in token])


def _cut(text: str, differs: Sequence[bool]) -> list[Piece]:
    """Cut a text between characters that are hidden, or differ, and others; runs of one hidden character are one."""
    hidden = [char if _is_hidden(text, place) else "" for place, char in enumerate(text)]
    pieces, start = [], 0
    for (mark, flag), run in itertools.groupby(zip(hidden, differs, strict=True)):
        end = start + sum(1 for _ in run)
        pieces.append(_stand_in(mark, end - start, flag) if mark else Piece(text[start:end], "", flag))
        start = end
    return pieces


def _stand_in(char: str, times: int, differs: bool) -> Piece:
    name = unicodedata.name(char, "control character" if unicodedata.category(char) == "Cc" else "unknown character")
    return Piece(f"U+{ord(char):04X}" + (f" × {times}" if times > 1 else ""), name, differs)


def _is_hidden(text: str, place: int) -> bool:
    char = text[place]
    if char in "\n\t " or (char.isprintable() and char not in _BLANK and char not in _SELECTORS):
        return False
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if char in _JOINERS:  # scripts such as Persian, and some emoji, need them
        return not (_is_shown_wide(before) and _is_shown_wide(after))
    if char in _SELECTORS:
        return not (_is_shown_wide(before) or before in tuple("#*0123456789"))
    return unicodedata.category(char) != "Zs"


def _is_shown_wide(char: str) -> bool:
    """Return whether a character is seen, and none of the ASCII ones, which nothing joins to."""
    return bool(char) and not char.isascii() and (char in _SELECTORS or (char.isprintable() and char not in _BLANK))
