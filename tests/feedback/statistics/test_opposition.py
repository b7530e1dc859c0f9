"""Who answers the opposite, and who of two groups is reversed."""

from __future__ import annotations

import numpy as np
import pytest

from textgym.feedback.statistics.agreement import position_bias
from textgym.feedback.statistics.concerns import annotation_concerns
from textgym.feedback.statistics.opposition import Opposition, find_oppositions
from textgym.feedback.types import Comparison, Ranking, Rating, Record
from textgym.metrics.intervals import clustered_proportion_interval, proportion_interval

CHOICES = ("a", "b")


def compared(
    name: str, questions: int = 40, *, reverse: bool = False, wrong: float = 0.1, seed: int = 0
) -> list[Record]:
    """Answers of somebody who prefers the first text of every question, or the second; some are wrong."""
    errors = np.random.default_rng([seed, *name.encode()]).random(questions) < wrong
    return [
        Comparison(
            f"k{number}", f"p{number}", f"x{number}", f"y{number}", CHOICES[bool(reverse) ^ bool(error)], annotator=name
        )
        for number, error in enumerate(errors)
    ]  # type: ignore[arg-type]


def panel(honest: str, reversed_: str, **options: float) -> list[Record]:
    return [record for name in (*honest, *reversed_) for record in compared(name, reverse=name in reversed_, **options)]  # type: ignore[arg-type]


def test_people_who_agree_are_no_groups() -> None:
    assert find_oppositions(panel("abc", "")) == []
    assert find_oppositions([]) == []
    assert find_oppositions(panel("a", "")) == []


def test_who_guesses_is_not_reversed() -> None:
    for seed in range(20):
        guesses = compared("g", wrong=0.5, seed=seed) + compared("h", wrong=0.5, seed=seed + 99)
        assert find_oppositions([*panel("abc", "", seed=seed), *guesses]) == []


def test_who_guesses_about_few_questions_is_not_reversed_however_many_agree() -> None:
    """Thirty who agree are thirty answers to each question, and no more than one thing to differ from."""
    crowd = [record for number in range(30) for record in compared(f"n{number}", 10, wrong=0.0)]
    for seed in range(40):
        assert find_oppositions([*crowd, *compared("g", 10, wrong=0.5, seed=seed)]) == []


def test_two_of_three_reversed_is_left_open_without_checks() -> None:
    (found,) = find_oppositions(panel("a", "bc"))
    assert found == Opposition(("b", "c"), ("a",))
    assert str(found) == (
        "two groups disagree systematically: b, c | a; which of them is reversed is undecided: attention checks, which "
        "decide it, are missing"
    )


@pytest.mark.parametrize(
    ("attention", "reversed_"),
    [
        ({"a": (4, 4), "b": (0, 4), "c": (0, 4)}, ("b", "c")),  # the majority is wrong
        ({"a": (0, 6), "b": (6, 6), "c": (5, 6)}, ("a",)),
        ({"a": (1, 1), "b": (0, 1), "c": (0, 1)}, ()),  # too few to tell
        ({"a": (3, 6), "b": (3, 6), "c": (4, 6)}, ()),
        ({"a": (4, 4)}, ()),  # the others were asked none
    ],
)
def test_attention_checks_decide_who_is_reversed(
    attention: dict[str, tuple[int, int]], reversed_: tuple[str, ...]
) -> None:
    (found,) = find_oppositions(panel("a", "bc"), attention)
    assert found.reversed == reversed_
    assert ("is undecided" in str(found)) == (not reversed_)
    assert ("reversed, answering systematically opposite" in str(found)) == bool(reversed_)


def test_one_against_three_is_named_as_reversed() -> None:
    (found,) = find_oppositions(panel("abc", "r"))
    assert found.reversed == ("r",)
    assert str(found) == (
        "r is reversed, answering systematically opposite to a, b, c: are labels swapped? (3 others agree with each "
        "other; no attention checks confirm it)"
    )


@pytest.mark.parametrize(("honest", "reversed_"), [("a", "r"), ("ab", "r"), ("abc", "r"), ("ab", "rt")])
def test_who_guesses_hides_nobody_who_is_reversed(honest: str, reversed_: str) -> None:
    for seed in range(10):
        records = panel(honest, reversed_, wrong=0.05, seed=seed)
        found = Opposition(tuple(honest), tuple(reversed_))
        (beside,) = find_oppositions([*records, *compared("s", wrong=0.5, seed=seed)])
        assert {beside.first, beside.second} == {found.first, found.second}
        assert beside.reversed == (("r",) if len(honest) == 3 else ())


def test_who_guesses_is_not_taken_for_reversed_however_often_others_are_left_out() -> None:
    for seed in range(40):
        assert find_oppositions([each for name in "ghij" for each in compared(name, wrong=0.5, seed=seed)]) == []


def test_guesses_about_questions_of_few_people_are_left_out_too() -> None:
    """Each prompt is answered by two of six: without one of them, nobody is left to compare, or one."""
    every = {name: compared(name, 60, wrong=0.5) for name in "abcdef"}
    names = "abcdef"
    pairs = [(names[number % 6], names[(number + 1 + number // 6) % 6]) for number in range(60)]
    records = [every[name][number] for number, pair in enumerate(pairs) for name in pair]
    assert find_oppositions(records) == []


def test_too_few_answers_leave_it_open_whether_somebody_is_reversed() -> None:
    """Two who guess answer seven questions all the opposite way once in 128 times."""
    records = panel("a", "r", questions=7, wrong=0.0)
    assert find_oppositions(records) == []
    assert annotation_concerns(records) == [
        "a and r seem to answer the opposite of each other, but share the questions about 7 prompts only: whether one "
        "of them is reversed is left open; ask both more of the same questions"
    ]
    assert annotation_concerns(panel("a", "r", questions=3, wrong=0.0)) == []
    assert len(annotation_concerns(panel("a", "r", wrong=0.0))) == 1  # found, and so not open


def test_one_who_differs_at_times_is_not_opposed() -> None:
    """At 0.1 errors of the others, 0.35 of one's own: the same answer in 0.62 of the questions."""
    assert find_oppositions([*panel("abc", ""), *compared("d", wrong=0.35)]) == []


def ranked(name: str, *, reverse: bool) -> list[Record]:
    ranks = (3, 2, 1) if reverse else (1, 2, 3)
    return [Ranking(f"k{n}", f"p{n}", ("x", "y", "z"), ranks, annotator=name) for n in range(20)]


def rated(name: str, *, reverse: bool) -> list[Record]:
    grades = {"x": 2, "y": 4} if reverse else {"x": 5, "y": 1}
    return [Rating(f"k{n}", f"p{n}", text, grade, annotator=name) for n in range(20) for text, grade in grades.items()]


@pytest.mark.parametrize("answers", [ranked, rated])
def test_rankings_and_ratings_are_opposed_too(answers: type) -> None:
    records = [*answers("a", reverse=False), *answers("b", reverse=True)]
    assert find_oppositions(records) == [Opposition(("a",), ("b",))]


def test_people_who_share_no_questions_are_not_compared() -> None:
    elsewhere = [
        Comparison(f"other {r.task_key}", r.prompt, *r.responses, r.choice, annotator="z")  # type: ignore[union-attr]
        for r in compared("z", reverse=True)
    ]
    assert find_oppositions([*panel("ab", ""), *elsewhere]) == []
    assert len(find_oppositions([*panel("ab", ""), *elsewhere, *panel("", "d")])) == 1


# Orders that shown_order draws of three: seed 4 shows 0, 2, 1.
def ranking(ranks: tuple[int, ...], number: int, seed: int | None = 4) -> Ranking:
    return Ranking(f"k{number}", "p", ("x", "y", "z"), ranks, annotator="a", order_seed=seed)


def test_position_bias_of_rankings_by_hand() -> None:
    """The first is before both, before one and tied with one, behind both: (2 + 1.5 + 0) / 6."""
    records = [ranking((1, 2, 3), 0), ranking((1, 1, 3), 1), ranking((3, 1, 2), 2), ranking((1, 2, 3), 3, seed=None)]
    found = position_bias(records, Ranking)
    assert found == clustered_proportion_interval([1, 1, 0.5, 1, 0, 0], [0, 0, 1, 1, 2, 2])
    assert found.mean == pytest.approx(3.5 / 6)
    assert position_bias([], Ranking) == (0.5, 0.0, 1.0)


def test_position_bias_of_comparisons_is_as_before() -> None:
    """Seed 4 shows the first text first; ties do not count."""
    choices = ["a"] * 7 + ["b"] * 3 + ["tie"] * 5
    records = [Comparison(f"k{n}", "p", "x", "y", choice, order_seed=4) for n, choice in enumerate(choices)]  # type: ignore[arg-type]
    assert position_bias(records) == pytest.approx(proportion_interval(7, 10))


def test_bias_of_ranks_is_reported_with_an_interval() -> None:
    records = [ranking((1, 2, 3) if number % 4 else (2, 1, 3), number) for number in range(40)]
    (said,) = annotation_concerns(records)
    share = position_bias(records, Ranking)
    assert said == (
        "Position bias in rankings: the text shown first (top) is ranked before another one "
        f"in {100 * share.mean:.0f} % of cases (95 % interval {100 * share.low:.0f} % to {100 * share.high:.0f} %); "
        "50 % would be no bias."
    )
    assert annotation_concerns([ranking((1, 2, 3), 0), ranking((3, 2, 1), 1)]) == []
