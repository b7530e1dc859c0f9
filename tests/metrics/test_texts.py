"""Measures that need no references, against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textgym.metrics import rougeL
from textgym.metrics.texts import ReferenceMetric, corpus_distinct, distinct_2, repetition_4, word_count
from textgym.types import Episode, Example, episodes_of

BARE = Example("k", "p")


def of(*texts: str) -> list[Episode]:
    return episodes_of([BARE] * len(texts), texts)


def test_words_are_counted_as_people_count() -> None:
    assert word_count(of("", "It's 3.5 km - really!", "今天天气很好。")).tolist() == [0, 5, 6]


def test_distinct_pairs_by_hand() -> None:
    # "a b a b a": pairs ab ba ab ba, two of them different.
    np.testing.assert_allclose(distinct_2(of("a b a b a", "a b c", "A a a", "one", "")), [0.5, 1, 0.5, np.nan, np.nan])


def test_repeated_runs_of_four_by_hand() -> None:
    # "a b c d a b c d": runs abcd bcda cdab dabc abcd, one of five has been before.
    np.testing.assert_allclose(
        repetition_4(of("a b c d a b c d", "a a a a a", "a b c", "a b c d")), [0.2, 0.5, np.nan, 0]
    )


def test_reference_metrics_skip_examples_without_references() -> None:
    known = Example("k", "p", ("the cat sat",))
    values = ReferenceMetric(rougeL)(episodes_of([BARE, known, known], ["x", "the dog", "the cat sat"]))
    assert math.isnan(values[0])
    assert values[1:].tolist() == pytest.approx([0.4, 1])
    assert np.isnan(ReferenceMetric(rougeL)(of("x"))).all()


def test_distinct_n_of_a_corpus_counts_runs_over_all_texts() -> None:
    texts = ["a b a b", "b a", "c"]  # pairs: ab ba ab, ba; words: a b a b, b a, c
    assert corpus_distinct(texts) == 2 / 4
    assert corpus_distinct(texts, 1) == 3 / 7
    assert math.isnan(corpus_distinct(texts, 5))
    with pytest.raises(ValueError, match="n=0"):
        corpus_distinct(texts, 0)
