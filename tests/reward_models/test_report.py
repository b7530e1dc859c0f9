"""What an accuracy is worth."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest

from textgym.metrics import clustered_proportion_interval as clustered_interval
from textgym.metrics import proportion_interval
from textgym.reward_models.evidence import Candidate, Kind, Preference
from textgym.reward_models.report import FitReport, HeldOut, accuracy, agreement, measure
from textgym.types import FloatArray, Interval


def preference(
    first: str, second: str, label: float = 1.0, prompt: str = "p", annotator: str = "ann", kind: Kind = "comparison"
) -> Preference:
    return Preference(kind, Candidate(prompt, first), Candidate(prompt, second), label, annotator)


def by_length(preferences: Sequence[Preference]) -> FloatArray:
    """A model that likes long texts."""
    return np.array([len(each.first.response) - len(each.second.response) for each in preferences], dtype=np.float64)


def many(n: int, longer_is_better: float = 1.0, **options: str) -> list[Preference]:
    """Preferences of n prompts; in this share of them the longer text is preferred."""
    return [
        preference(f"{i} two words", f"{i}", float(i < longer_is_better * n), **{"prompt": f"prompt {i}", **options})
        for i in range(n)
    ]


def test_independent_preferences_have_the_interval_of_a_proportion() -> None:
    values = np.array([1.0] * 30 + [0.0] * 10)
    assert clustered_interval(values, [str(i) for i in range(40)]) == pytest.approx(proportion_interval(30, 40))


def test_preferences_that_are_all_alike_within_a_prompt_count_once() -> None:
    values, clusters = np.repeat([1.0, 1.0, 0.0, 1.0], 25), np.repeat(list("abcd"), 25).tolist()
    assert clustered_interval(values, clusters) == pytest.approx(proportion_interval(3, 4))
    assert clustered_interval(np.ones(100), clusters) == pytest.approx(proportion_interval(4, 4))
    assert clustered_interval(np.zeros(0), []) == (0.5, 0.0, 1.0)


def test_ties_are_left_out_and_equal_scores_are_half_right() -> None:
    preferences = [preference("x", "y", label, prompt=str(i)) for i, label in enumerate((1.0, 0.0, 1.0, 0.5))]
    assert accuracy(preferences, np.array([1.0, 2.0, 0.0, 5.0])) == pytest.approx(proportion_interval(1.5, 3), abs=1e-9)
    assert accuracy(preferences[3:], np.zeros(1)) == (0.5, 0.0, 1.0)


def test_only_preferences_are_counted() -> None:
    ties = [preference("x", "y", 0.5, prompt=f"tie {i}") for i in range(90)]
    result = measure(by_length, [*many(10), *ties], many(50))
    assert result.pairs == 10
    assert result.calibration is None


def test_agreement_by_hand() -> None:
    """Three questions: three annotators of whom two agree (1/3), two who agree (1), one alone."""
    preferences = [
        preference("x", "y", 1.0, "p", "ann"),
        preference("y", "x", 0.0, "p", "bob"),  # the other way round, and the same
        preference("x", "y", 0.0, "p", "cat"),
        preference("x", "y", 0.0, "q", "ann"),
        preference("x", "y", 0.0, "q", "bob"),
        preference("x", "y", 0.5, "q", "cat"),
        preference("x", "y", 1.0, "r", "ann"),
        preference("x", "y", 0.0, "q", "dan", kind="implicit"),
    ]
    assert agreement(preferences) == pytest.approx(proportion_interval(4 / 3, 2))
    assert agreement(preferences[-2:]) is None


def test_length_bias_shows() -> None:
    result = measure(by_length, many(200, 0.6), [])
    held_out = result.held_out
    assert held_out is not None
    assert result.accuracy.mean == held_out.always_longer.mean == pytest.approx(0.6)
    assert held_out.always_shorter.mean == pytest.approx(0.4)
    assert [(each.low, each.high, each.accuracy.mean, each.pairs) for each in held_out.by_length] == [
        (-2, -2, 0.0, 80),
        (2, 2, 1.0, 120),
    ]
    assert "a rule that looks at length alone is as accurate" in held_out.notes


def test_the_worst_errors_are_shown() -> None:
    preferences = [preference("x" * (i + 1), "", 0.0, prompt=f"prompt {i} {'w' * 1000}") for i in range(40)]
    preferences.append(preferences[-1]._replace(annotator="bob"))  # who says the same
    held_out = measure(by_length, preferences, []).held_out
    assert held_out is not None
    assert [each.margin for each in held_out.worst] == [40, 39, 38, 37, 36]
    assert held_out.worst[0].rejected == "x" * 40
    assert held_out.worst[0].preferred == ""
    assert len(held_out.worst[0].prompt) < 410


def test_annotators_who_guess_are_not_counted() -> None:
    preferences = many(40, annotator="ann") + many(40, 0.0, annotator="spam")
    assert measure(by_length, preferences, []).accuracy.mean == pytest.approx(0.5)
    result = measure(by_length, preferences, [], {"ann": 0.95, "spam": 0.1})
    assert result.accuracy.mean == 1.0
    assert result.held_out is not None
    assert "40 held-out preferences left out, of annotators who guess: spam" in result.held_out.notes
    alone = measure(by_length, many(40, 0.0, annotator="spam"), [], {"ann": 0.95, "spam": 0.1})
    assert alone.accuracy.mean == 0.0


def test_always_longer_counts_characters_where_no_spaces_part_words() -> None:
    """Two Chinese sentences are two pieces between spaces, whatever their length."""
    short, long = "今天下雨。", "今天整天都在下雨,没有人出门。"
    asked = [preference(long, short, float(i != 0), prompt=f"天气{i}") for i in range(4)]
    held_out = measure(by_length, asked, []).held_out
    assert held_out is not None
    assert (held_out.always_longer.mean, held_out.always_shorter.mean) == (0.75, 0.25)
    assert {end for each in held_out.by_length for end in (each.low, each.high)} == {-9.0, 9.0}


def notes(preferences: Sequence[Preference], train: Sequence[Preference] = ()) -> str:
    held_out = measure(by_length, preferences, train).held_out
    assert held_out is not None
    return "; ".join(held_out.notes)


def test_notes_tell_degenerate_data_from_success() -> None:
    assert "only 1 preferences held out" in notes(many(1))
    assert "nothing is known" in notes([preference("x", "y", 0.5)])
    assert "not distinguishable from chance" in notes(many(60, 0.5))
    assert "measured on implied preferences only" in notes([each._replace(kind="implicit") for each in many(40)])
    assert "of responses also trained on" in notes(
        [preference("good", "bad", prompt=f"new {i}") for i in range(40)], [preference("good", "bad", prompt="old")]
    )
    across = [each._replace(second=Candidate("elsewhere", "y"), kind="rating") for each in many(40)]
    assert "ratings compared across prompts" in notes(across)


def test_constant_annotators_are_named_unless_all_are() -> None:
    constant = many(20, annotator="con")
    assert "con gave the same answer 20 times" in notes(constant + many(20, 0.5, annotator="ann"))
    assert "same answer" not in notes(constant)


def test_explicit_answers_decide_where_there_are_any() -> None:
    implied = [each._replace(kind="implicit") for each in many(100, 0.0)]
    result = measure(by_length, many(40) + implied, [])
    assert result.accuracy.mean == 1.0
    assert result.held_out is not None
    assert {kind: each.mean for kind, each in result.held_out.by_kind.items()} == {"comparison": 1.0, "implicit": 0.0}


def finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    "preferences", [many(1), many(40), [preference("x", "y", 0.5)] * 5, [preference("x", "x")] * 30, many(3, 0.0)]
)
def test_nothing_is_ever_nan_and_nothing_is_certain(preferences: list[Preference]) -> None:
    result = measure(by_length, preferences, [])
    assert result.held_out is not None
    assert finite(asdict(result.held_out))
    assert result.accuracy.low < 1.0


def test_reports_survive_json() -> None:
    result = measure(by_length, many(50, 0.6), [])
    extras = {"reliability": {"ann": 0.9}, "severity": {"ann": 0.1}, "implicit_weight": 0.2}
    report = FitReport(
        result.accuracy, 0.5, result.calibration, 100, result.pairs, 1.5, held_out=result.held_out, **extras
    )  # type: ignore[arg-type]
    assert FitReport.from_json(json.loads(json.dumps(asdict(report), allow_nan=False))) == report
    plain = FitReport(Interval(0.5, 0, 1), 0.7, None, 1, 0, 0.1)
    old = {name: value for name, value in asdict(plain).items() if name not in (*extras, "held_out")}
    assert FitReport.from_json(old) == plain
    with pytest.raises(KeyError):
        HeldOut.from_json({})
