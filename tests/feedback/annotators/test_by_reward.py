"""What simulated annotators compare by: gold, a task's main metric, or any reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from textgym.errors import DataError
from textgym.feedback.annotators.by_reward import GOLD_NOISE, NOISE, annotator_reward
from textgym.feedback.annotators.comparisons import compare_samples, draw_examples
from textgym.metrics.texts import TEXT_METRICS
from textgym.tasks import Summarization, TextTask
from textgym.types import Episode, Example, FloatArray, Message, Metric


def words(episodes: Sequence[Episode]) -> FloatArray:
    return np.array([float(len(episode.text.split())) for episode in episodes])


class Wordy(TextTask):
    """No word of it stands in textgym: its own metric is what annotators compare by."""

    name = "wordy"
    metrics: Mapping[str, Metric] = {**TEXT_METRICS, "wordiness": words}
    main_metric = "wordiness"


def letters(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    return np.array([float(len(text)) for text in responses])


EXAMPLES = [Example(f"k{n}", f"document {n}") for n in range(3)]


def test_gold_where_the_data_know_it() -> None:
    by = annotator_reward(Summarization())
    assert (by.name, by.noise, by.is_gold) == ("gold", GOLD_NOISE, True)
    named = annotator_reward(Summarization(), "gold")
    assert (named.name, named.noise, named.is_gold) == ("gold", GOLD_NOISE, True)


def test_the_main_metric_of_a_task_elsewhere() -> None:
    by = annotator_reward(Wordy(EXAMPLES))
    assert (by.name, by.noise, by.is_gold) == ("wordiness", NOISE, False)
    assert by.reward(["p", "p"], ["one two", "one"], EXAMPLES[:2]).tolist() == [2, 1]


def test_any_reward_by_name_or_as_a_callable() -> None:
    with_references = [Example("k", "p", ("a b",)), Example("l", "q", ("c d",))]
    assert annotator_reward(Wordy(with_references), "rouge1").reward(["p"], ["a b"], with_references[:1])[0] == 1
    by = annotator_reward(Wordy(EXAMPLES), letters)
    assert (by.name, by.reward) == ("letters", letters)


class Bare(TextTask):
    name = "bare"


def test_what_the_data_lack_is_said_at_once() -> None:
    with pytest.raises(DataError, match="expected references for a simulated annotator, got none"):
        annotator_reward(Bare(EXAMPLES))
    with pytest.raises(DataError, match="expected at least one reference"):
        annotator_reward(Bare(EXAMPLES), "rouge")
    with pytest.raises(DataError, match="true quality"):
        annotator_reward(Bare(EXAMPLES), "gold")
    with pytest.raises(ValueError, match="Did you mean 'gold'"):
        annotator_reward(Bare(EXAMPLES), "golden")


def test_a_conversation_is_asked_about() -> None:
    talk = Example("k", (Message("user", "Hi."), Message("assistant", "Hello."), Message("user", "More.")))
    assert annotator_reward(Wordy([talk])).reward(["p"], ["three words here"], [talk])[0] == 3


def test_an_annotator_that_is_never_wrong_compares_by_the_reward() -> None:
    task, rng = Wordy(EXAMPLES), np.random.default_rng(0)
    examples = draw_examples(task, 3, rng)
    assert sorted(example.key for example in examples) == ["k0", "k1", "k2"]  # none twice
    records = compare_samples(task, examples, ["one"] * 3, ["one two"] * 3, annotator_reward(task), rng, noise=0.0)
    assert [record.chosen for record in records] == ["one two"] * 3
    assert {record.annotator for record in records} == {"simulated-wordiness"}
