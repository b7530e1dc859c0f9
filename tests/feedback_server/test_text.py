"""Texts of models on a page: nothing hidden stays hidden, and differing words are found."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.feedback.server.text import Piece, differing_pieces, plain, visible_pieces

HIDDEN = (
    "\u202e\u202d\u202a\u2066\u2069\u200e\u200f\u061c\u200b\u2060\ufeff\u00ad\u3164\u115f\x00\x07\x1b\x85\u2028\ud800"
)
TAGS = "\U000e0041\U000e007f\U000e0100"


@pytest.mark.parametrize("char", [*HIDDEN, *TAGS])
def test_hidden_characters_get_a_name(char: str) -> None:
    before, mark, after = visible_pieces(f"a{char}b")
    assert (before.text, after.text) == ("a", "b")
    assert mark.text == f"U+{ord(char):04X}"
    assert mark.hidden


def test_runs_are_counted() -> None:
    assert visible_pieces("\u200b" * 12) == [Piece("U+200B × 12", "ZERO WIDTH SPACE")]


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\nof two lines",
        "no\u00a0break\u3000",
        "می\u200cخواهم",
        "👩\u200d🔬 ❤\ufe0f 1\ufe0f\u20e3",
        "क्\u200dष",
    ],
)
def test_what_scripts_need_stays(text: str) -> None:
    assert visible_pieces(text) == [Piece(text)]


def test_joiners_between_letters_that_nothing_joins_are_shown() -> None:
    assert [piece.text for piece in visible_pieces("pa\u200dy")] == ["pa", "U+200D", "y"]


def test_line_ends() -> None:
    assert visible_pieces("a\r\nb\rc") == [Piece("a\nb"), Piece("U+000D", "control character"), Piece("c")]


def differing(text: str, other: str) -> list[str]:
    return [piece.text for piece in differing_pieces(text, other)[0] if piece.differs]


def test_words_that_differ() -> None:
    first, second = "The council met on Monday, again.", "The board met on Monday."
    assert differing(first, second) == ["council", ", again"]
    assert differing(second, first) == ["board"]
    assert differing("one two three", "one") == ["two three"]
    assert differing(first, first) == []
    assert differing("", "x") == []
    assert differing("東京都", "東京市") == ["都"]


@given(st.text(alphabet=st.sampled_from("ab \n\u200b\u200déあ\ufe0f")), st.text())
def test_marking_differences_changes_no_text(first: str, second: str) -> None:
    for text, pieces in zip((first, second), differing_pieces(first, second), strict=True):
        assert "".join(piece.text for piece in pieces if not piece.hidden) == "".join(
            piece.text for piece in visible_pieces(text) if not piece.hidden
        )


@pytest.mark.parametrize("text", ["a " * 5000, "a b " * 20_000, "x" * 100_000, "\u200b\u202e" * 2000])
def test_hostile_lengths_take_no_time(text: str) -> None:
    start = time.process_time()
    differing_pieces(text, text[: len(text) // 2] + " z " + text[len(text) // 2 :])
    assert time.process_time() - start < 5


def test_plain_text_can_be_sent() -> None:
    assert plain("a\ud800é") == "a?é"
