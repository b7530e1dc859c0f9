"""Copies of records, and annotators who always answer the same: counted and said."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from textgym.feedback import shown_order, split_records
from textgym.feedback.records.oddities import constant_annotators, count_repeats, oddities
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Ranking, Rating, Record
from textgym.reward_models import read_split
from textgym.reward_models.evidence import preferences
from textgym.reward_models.report import accuracy, measure

PAIR = Comparison("k", "p", "x", "y", "a", annotator="ann")
RANKING = Ranking("k", "p", ("x", "y", "z"), (1, 2, 2), annotator="ann")


def pairs(n: int, annotator: str = "ann") -> list[Record]:
    return [Comparison(f"k{i}", f"prompt {i}", f"x{i}", f"y{i}", "ab"[i % 2], annotator=annotator) for i in range(n)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "repeats"),
    [
        (PAIR, PAIR, 1),
        (PAIR, replace(PAIR, response_a="y", response_b="x", choice="b", time=3.0, order_seed=7), 1),
        (replace(PAIR, choice="tie"), replace(PAIR, response_a="y", response_b="x", choice="tie"), 1),
        (PAIR, replace(PAIR, choice="b"), 0),
        (PAIR, replace(PAIR, annotator="bob"), 0),
        (PAIR, replace(PAIR, prompt="q"), 0),
        (RANKING, replace(RANKING, responses=("z", "x", "y"), ranks=(2, 1, 2)), 1),
        (RANKING, replace(RANKING, ranks=(1, 2, 3)), 0),
        (Rating("k", "p", "x", 3), Rating("k", "p", "x", 3), 1),
        (Rating("k", "p", "x", 3), Rating("k", "p", "x", 4), 0),
        (Demonstration("k", "p", "x"), Demonstration("k", "p", "x"), 1),
        (ImplicitFeedback("k", "p", "x", 0, True, 1.0), ImplicitFeedback("k", "p", "x", 0, True, 2.0), 0),
    ],
)
def test_a_repeat_says_the_same_about_the_same(first: Record, second: Record, repeats: int) -> None:
    assert count_repeats([first, second]) == repeats


def test_copies_are_said_at_once_and_stay_on_one_side() -> None:
    records = pairs(40) * 10
    with pytest.warns(
        UserWarning, match=r"360 of 400 records say what another one says .* not get narrower. Remove them"
    ):
        read_split(records, held_out=0.3)
    train, held_out = split_records(records, 0.3)
    assert not set(map(repr, train)) & set(map(repr, held_out))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_split(pairs(40), held_out=0.3)


def test_a_repeat_in_a_hundred_is_chance() -> None:
    assert oddities([*pairs(99), *pairs(1)]) == []
    assert oddities([*pairs(98), *pairs(2)])[0].startswith("2 of 100 records")


def test_copies_make_no_interval_narrower() -> None:
    """And a few preferences are few, however often each is there."""
    asked = preferences(read_split(pairs(20), held_out=0.0).train.observations)
    differences = np.array([1.0, -1.0, -1.0, -1.0] * 5)
    once, often = accuracy(asked, differences), accuracy(asked * 10, np.tile(differences, 10))
    assert often.mean == once.mean
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)
    held_out = measure(lambda given: np.ones(len(given)), asked * 10, []).held_out
    assert held_out is not None
    assert "only 20 different preferences held out: the accuracy says little" in held_out.notes


def test_names_that_are_missing_may_be_those_of_several_people() -> None:
    assert "name the annotators" in oddities(pairs(3, "anonymous") * 2)[0]
    assert "name the annotators" not in oddities(pairs(3) * 2)[0]


def test_who_always_gives_one_grade_is_named() -> None:
    same = [Rating(f"k{i}", f"prompt {i}", "x", 4, annotator="con") for i in range(12)]
    others = [Rating(f"k{i}", f"prompt {i}", "x", 1 + i % 5, annotator="ann") for i in range(12)]
    assert constant_annotators([*same, *others]) == [("con", 12, "the grade 4")]
    (note,) = oddities([*same, *others])
    assert note.startswith("con gave the same answer 12 times (the grade 4): look at these answers")
    assert constant_annotators([*same[:9], *others]) == []
    with pytest.warns(UserWarning, match=r"con gave the same answer 12 times \(the grade 4\)"):
        read_split([*same, *others])


def test_who_always_takes_one_side_of_the_page_is_named() -> None:
    """The same side of the page is now one text, now the other; of published pairs nobody knows the side."""
    left = [
        Comparison(f"k{i}", f"p{i}", "x", "y", "ab"[shown_order(2, i)[0]], annotator="left", order_seed=i)  # type: ignore[arg-type]
        for i in range(20)
    ]
    assert len({record.choice for record in left}) == 2
    assert constant_annotators(left) == [("left", 20, "text 1 on the page")]
    assert constant_annotators([replace(record, order_seed=None, choice="a") for record in left]) == []
    ties = [replace(record, choice="tie", order_seed=None) for record in left]
    assert constant_annotators(ties) == [("left", 20, "tie")]


def test_who_leaves_every_ranking_as_it_was_shown_is_named() -> None:
    lazy: list[Record] = []
    for seed in range(12):
        ranks = [0, 0, 0]
        for place, index in enumerate(shown_order(3, seed), start=1):
            ranks[index] = place
        lazy.append(Ranking(f"k{seed}", f"p{seed}", ("x", "y", "z"), tuple(ranks), annotator="lazy", order_seed=seed))
    assert constant_annotators(lazy) == [("lazy", 12, "the places 1, 2, 3 in the order of the page")]
