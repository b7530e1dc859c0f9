"""Texts of models and files made harmless for where they are shown: terminals and Markdown."""

from __future__ import annotations

import html
import re
import unicodedata

_LAYOUT = "\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_MARKUP = re.compile(r"([\\`*\[\]|~])")
_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def printable(text: str) -> str:
    """Replace control and bidirectional characters, which a terminal or page would obey, by a visible stand-in.

    Line ends, tabs, spaces of all widths and the joiners that some scripts need stay.
    """
    text = text.replace("\r\n", "\n")
    return "".join(char if _is_harmless(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def markdown(text: str) -> str:
    """Return a text so that Markdown shows it as it is: no markup, no HTML, no links, no control characters."""
    text = printable(_LINE_ENDS.sub("\n", text))
    return _MARKUP.sub(r"\\\1", html.escape(text, quote=False))


def markdown_cell(text: str) -> str:
    """The same for a cell of a table, where a line end is ``<br>``."""
    return markdown(text).replace("\n", "<br>")


def code_block(text: str, language: str = "") -> str:
    """Return a Markdown block that shows a text letter by letter; its fence is longer than any in the text."""
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{printable(text).rstrip(chr(10))}\n{fence}\n"


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _LAYOUT or unicodedata.category(char) == "Zs"
