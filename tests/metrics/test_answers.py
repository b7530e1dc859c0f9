"""Exact match, F1 and abstention, with numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textgym.metrics.answers import (
    abstention_precision,
    abstention_recall,
    answer_f1,
    exact_match,
    f1,
    is_abstention,
    is_unanswerable,
    normalize_answer,
)
from textgym.types import Episode, Example

YEAR = Example("k", "When?", ("in 1912", "the year 1912"))
NONE = Example("k", "Who?", ("unanswerable",))


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Old-Town's  Gate!", "oldtowns gate"),
        ("an apple a day", "apple day"),
        ("Theatre, anthem", "theatre anthem"),  # articles are whole words
        ("", ""),
        ("the", ""),
        ("£3.50", "£350"),
        ("Café", "café"),
    ],
)
def test_normalisation(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("text", "answer", "value"),
    [
        ("1912", "in 1912", 2 / 3),  # precision 1, recall 1/2
        ("in the year 1912", "in 1912", 0.8),  # precision 2/3, recall 1
        ("1912 1912", "1912", 2 / 3),  # counted once
        ("1912", "1913", 0.0),
        ("", "1912", 0.0),
        ("the", "a", 1.0),
        ("The 1912!", "1912", 1.0),
    ],
)
def test_f1(text: str, answer: str, value: float) -> None:
    assert answer_f1(text, answer) == pytest.approx(value)


def test_the_best_reference_counts() -> None:
    texts = ["In 1912.", "1912", "year 1912", "", "unanswerable"]
    arguments = [""] * 5, texts, [YEAR] * 5
    assert exact_match(*arguments).tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert f1(*arguments).tolist() == pytest.approx([1.0, 2 / 3, 1.0, 0.0, 0.0])
    assert f1([""], ["text"], [Example("k", "prompt")]).tolist() == [0.0]
    assert exact_match([""], [""], [Example("k", "prompt")]).tolist() == [0.0]


def test_abstention() -> None:
    assert is_abstention(" Unanswerable! ")
    assert not is_abstention("It is unanswerable")
    assert not is_abstention("")
    assert is_unanswerable(NONE)
    assert not is_unanswerable(YEAR)
    assert not is_unanswerable(Example("k", "prompt"))
    pairs = [(YEAR, "unanswerable"), (YEAR, "1912"), (NONE, "unanswerable"), (NONE, "1912"), (NONE, "Unanswerable.")]
    episodes = [Episode.of(*pair) for pair in pairs]
    nan = math.nan
    assert np.array_equal(abstention_precision(episodes), [0.0, nan, 1.0, nan, 1.0], equal_nan=True)  # 2 of 3
    assert np.array_equal(abstention_recall(episodes), [nan, nan, 1.0, 0.0, 1.0], equal_nan=True)  # 2 of 3
    assert exact_match([""], ["Unanswerable."], [NONE]).tolist() == [1.0]
    assert f1([""], ["1912"], [NONE]).tolist() == [0.0]
