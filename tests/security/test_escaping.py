"""Texts are shown, not obeyed."""

from __future__ import annotations

import pytest

from textgym.security.escaping import code_block, markdown, markdown_cell, printable

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.parametrize("char", [*BIDI, "\x1b", "\x07", "\x9b", "\x00", "\x7f", "\r", "\ud800", "\ufeff"])
def test_control_and_bidirectional_characters_are_replaced(char: str) -> None:
    for show in (printable, markdown, markdown_cell, code_block):
        assert char not in show(f"a{char}b")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "<img src=x onerror=y>", "a & b", "<!-- x", "&lt;b&gt;"])
def test_markdown_holds_no_html(text: str) -> None:
    assert "<" not in markdown(text)
    import html

    assert html.unescape(markdown(text)) == text


def test_markdown_holds_no_markup_and_no_link() -> None:
    assert markdown("![x](http://a/b) `c` | \\") == r"!\[x\](http://a/b) \`c\` \| " + "\\\\"


def test_a_cell_stays_one_cell() -> None:
    assert markdown_cell("a|b\r\nc\u2028d") == r"a\|b<br>c<br>d"


def test_a_block_cannot_be_left() -> None:
    lines = code_block("x\n```\n# title\n````").splitlines()
    assert lines[0] == lines[-1] == "`````"


def test_ordinary_texts_stay() -> None:
    for text in ("Ünïcode, 東京 and 🎉.", "tabs\tstay", "می\u200cخواهم"):
        assert printable(text) == markdown(text) == text
