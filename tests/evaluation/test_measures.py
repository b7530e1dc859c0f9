"""Measures of responses: known answers, and what is left out where it makes no sense."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from textgym.errors import RewardError
from textgym.evaluation import Evaluation
from textgym.evaluation.measures import Measures, compare, fixed_examples, score_responses
from textgym.metrics import mean_interval
from textgym.metrics.rouge import rouge1
from textgym.metrics.texts import ReferenceMetric
from textgym.tasks import Summarization
from textgym.types import Episode, Example, FloatArray


class Words:
    """A task without data, whose gold is the number of words."""

    name = "words"
    metrics = {"rouge1": ReferenceMetric(rouge1)}  # noqa: RUF012

    def __init__(self, knows_gold: bool = True) -> None:
        self.knows_gold = knows_gold

    def prompt(self, example: Example) -> str:
        return f"{example.prompt}?"

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        return np.array([len(each.text.split()) for each in episodes], dtype=float) if self.knows_gold else None


EXAMPLES = [Example("a", "one", ("red blue",)), Example("b", "two"), Example("c", "three", ("green",))]


def prompt_length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[int]:
    return [len(prompt) for prompt in prompts]


def test_known_answers() -> None:
    measures = score_responses(Words(), EXAMPLES, ["red blue", "x y z", "blue"], prompt_length)  # type: ignore[arg-type]
    assert measures.values["reward"].tolist() == [4, 4, 6]  # the formatted prompts, with their question mark
    assert measures.values["gold"].tolist() == [2, 3, 1]
    assert measures.values["rouge1"][[0, 2]].tolist() == [1, 0]
    assert np.isnan(measures.values["rouge1"][1])  # no reference
    assert measures.names() == ["reward", "gold", "rouge1"]
    assert measures.intervals()["gold"].mean == 2
    assert measures.intervals()["rouge1"].mean == 0.5
    assert measures.spreads()["gold"] == pytest.approx(np.sqrt(2 / 3))


def test_measures_are_shown_in_one_line() -> None:
    values = {name: np.array([1.0, 2.0, 3.0]) for name in ("rouge1", "reward", "gold", "length")}
    mean = mean_interval(values["gold"])
    shown = f"2 [{mean.low:.3g}, {mean.high:.3g}]"
    assert repr(Measures(values)) == f"<Measures of 3 texts: reward {shown}, gold {shown}, length {shown}>"
    assert repr(Measures({"reward": np.array([2.0])})) == "<Measures of 1 text: reward 2>"  # no bounds are known
    assert repr(Measures({})) == "<Measures of 0 texts: no measures>"


def test_notebooks_show_means_as_a_table() -> None:
    page = Measures({"<b>": np.array([1.0, 2.0, 3.0])})._repr_html_()
    assert '<th scope="row">&lt;b&gt;</th><td>2 [' in page
    assert "<td>0.816</td>" in page


def test_what_makes_no_sense_is_absent() -> None:
    bare = [Example("a", "one"), Example("b", "two")]
    measures = score_responses(Words(knows_gold=False), bare, ["x", "y"], None)  # type: ignore[arg-type]
    assert measures.names() == []
    assert measures.intervals() == {}


def test_shares_get_bounds_inside_zero_and_one() -> None:
    interval = Measures({"eos": np.ones(10)}).intervals()["eos"]
    assert interval.mean == interval.high == 1
    assert 0 < interval.low < 1


def test_intervals_of_shares_stay_in_zero_and_one() -> None:
    low, high = np.array([0.0, 0, 0, 0, 0.1, 0.9]), np.array([1.0, 1, 1, 1, 0.9, 0.2])
    one, other = Measures({"repetition_4": low, "zeal": low}), Measures({"repetition_4": high, "zeal": high})
    assert one.intervals()["zeal"].low < 0 == one.intervals()["repetition_4"].low
    assert other.intervals()["zeal"].high > 1 == other.intervals()["repetition_4"].high
    assert tuple(Measures({"rouge1": np.array([0.4])}).intervals()["rouge1"]) == (0.4, 0, 1)
    difference = compare(before=one, after=other)
    assert difference["repetition_4"].high == 1 < difference["zeal"].high


def test_several_texts_to_one_prompt_are_one_observation() -> None:
    values = {"gold": np.repeat([0.1, 0.5, 0.2, 0.9], 25), "eos": np.repeat([1.0, 0.0, 1.0, 1.0], 25)}
    alone = Measures({name: numbers[::25] for name, numbers in values.items()}).intervals()
    copies = Measures(values, np.repeat(list("abcd"), 25).tolist())
    assert copies.intervals()["gold"] == pytest.approx(alone["gold"])
    assert copies.intervals()["eos"].low <= alone["eos"].low
    zero = Measures({"gold": np.zeros(100)})  # no prompts on one side
    assert compare(before=zero, after=copies)["gold"] == pytest.approx(
        mean_interval([0.1, 0.5, 0.2, 0.9])
    )  # no prompts on one side
    twice = [Example("a", "one", ("red",)), Example("b", "one", ("blue",))]
    assert score_responses(Words(), twice, ["x", "y z"], None).prompts == ["one?", "one?"]  # type: ignore[arg-type]


def test_a_measure_that_is_always_zero_is_no_share() -> None:
    intervals = Measures({"kl": np.zeros(30), "reward": np.zeros(30)}).intervals()
    assert intervals["kl"] == (0.0, 0.0, 0.0)
    assert intervals["reward"].high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_differences_are_paired() -> None:
    before = Measures({"gold": np.array([0.0, 10.0, 20.0]), "kl": np.zeros(3)})
    after = Measures({"gold": np.array([1.0, 11.0, 21.0]), "rouge1": np.ones(3)})
    difference = compare(before=before, after=after)
    assert list(difference) == ["gold"]
    assert tuple(difference["gold"]) == (1, 1, 1)  # unpaired, the interval would span tens


def test_a_difference_names_its_sides() -> None:
    low, high = Measures({"reward": np.zeros(3)}), Measures({"reward": np.ones(3)})
    assert compare(before=low, after=high)["reward"].mean == 1
    assert compare(after=Evaluation([], high, 0.0), before=Evaluation([], low, 0.0))["reward"].mean == 1
    with pytest.raises(TypeError):
        compare(low, high)  # type: ignore[misc]
    with pytest.raises(TypeError, match="expected before to be measures or an evaluation, got dict; give"):
        compare(before={}, after=high)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same prompts, got 3 before and 2 after"):
        compare(before=low, after=Measures({"reward": np.ones(2)}))


def test_pairs_without_a_value_are_left_out() -> None:
    before = Measures({"rouge1": np.array([0.0, np.nan, 0.5])})
    after = Measures({"rouge1": np.array([0.5, 0.9, 1.0])})
    assert compare(before=before, after=after)["rouge1"].mean == 0.5


def test_order_of_measures() -> None:
    names = ["zeal", "eos", "length", "kl", "rougeL", "rouge2", "rouge1", "gold", "reward"]
    shown = [
        "reward",
        "gold",
        "zeal",
        "rougeL",
        "rouge2",
        "rouge1",
        "kl",
        "length",
        "eos",
    ]
    assert Measures({name: np.ones(2) for name in names}).names() == shown


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="one response per example"):
        score_responses(Words(), EXAMPLES, ["x"], None)  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="finite"):
        score_responses(Words(), EXAMPLES[:1], ["x"], lambda prompts, responses, examples: [float("nan")])  # type: ignore[arg-type]


def test_fixed_examples_are_the_first_ones() -> None:
    dataset = Summarization(split="test").dataset
    assert [example.key for example in fixed_examples(dataset, 3)] == [dataset[i].key for i in range(3)]
    assert len(fixed_examples(dataset, 10**9)) == len(dataset)
    with pytest.raises(ValueError, match="at least 1"):
        fixed_examples(dataset, 0)


def test_references_beat_shuffled_references_in_gold() -> None:
    task = Summarization(split="test")
    examples = fixed_examples(task.dataset, 20)
    texts = [example.references[0] for example in examples]
    right = score_responses(task, examples, texts, None).intervals()
    wrong = score_responses(task, examples, texts[1:] + texts[:1], None).intervals()
    assert right["gold"].low > wrong["gold"].high
    assert right["rouge1"].mean == 1
