"""Pages are whole HTML that runs nothing, whatever stands in their texts."""

from __future__ import annotations

import re

import pytest

from textgym import pages

EVIL = '<img src=x onerror="alert(1)">\u202e\x1b[2J'


def test_a_page_is_html_that_reads_and_runs_nothing() -> None:
    page = pages.page(EVIL, [pages.note(EVIL), pages.card(EVIL, pages.shown(EVIL), EVIL), pages.code(EVIL)])
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert "<img" not in page
    assert not set("\u202e\x1b") & set(page)
    assert not re.search(r"https?://|<script|<link", page)


def test_tables_and_definitions_escape_every_cell() -> None:
    shown = pages.table((EVIL, "b"), [(EVIL, EVIL)]) + pages.definitions({EVIL: EVIL}) + pages.prompt(EVIL)
    assert "<img" not in shown
    assert shown.count("&lt;img") == 6
    assert '<tr><th scope="row">' in shown


@pytest.mark.parametrize(
    ("text", "before", "shown"),
    [
        ("a b c", "a b c", "a b c"),
        ("a x c", "a b c", "a <mark>x</mark> c"),
        ("a b c d", "a b", "a b <mark>c d</mark>"),
        ("a c", "a b c", "a c"),
        ("a\n  b", "a b", "a\n  b"),
        ("new", "", "<mark>new</mark>"),
        ("", "old", "(empty)"),
        ("first", None, "first"),
        ("<b> c", "c", "<mark>&lt;b&gt;</mark> c"),
    ],
)
def test_words_that_were_not_there_are_marked(text: str, before: str | None, shown: str) -> None:
    assert pages.with_changes(text, before) == shown


def test_long_prompts_are_cut() -> None:
    assert f">{'z' * 600} …<" in pages.prompt("z" * 700)


def test_images_carry_their_content() -> None:
    assert pages.image("<svg/>", 'a "plot"') == (
        '<img alt="a &quot;plot&quot;" src="data:image/svg+xml;base64,PHN2Zy8+">'
    )
    assert pages.png_image(b"x", "y") == '<img alt="y" src="data:image/png;base64,eA==">'
