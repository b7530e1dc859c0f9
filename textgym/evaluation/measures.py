"""How good texts are: the measures of a list of responses, their means and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textgym.metrics.intervals import mean_interval, paired_difference_interval
from textgym.rewards.core import gold_scores, score
from textgym.types import Dataset, Example, FloatArray, IntArray, Interval, RewardFn, Task

MEASURES = ("reward", "gold", "rouge1", "rouge2", "rougeL", "kl", "length", "eos")
"""Order in which measures are shown; those that make no sense for some data are absent."""
_SHARES: Mapping[str, bool] = {"eos": True, "kl": False, "length": False}  # of others their values tell


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on ``n`` responses.

    Attributes:
        values: Name -> one number per response, shape ``(n,)``; NaN where a measure does not apply to an example (ROUGE
            without a reference).
        prompts: What each response is about, shape ``(n,)``: those to one prompt are not independent. ``None``: all
            are.
    """

    values: Mapping[str, FloatArray]
    prompts: Sequence[str] | None = None

    def intervals(self) -> dict[str, Interval]:
        """Return the mean of every measure with its 95 % interval."""
        found = {}
        for name in self.names():
            rows = np.flatnonzero(np.isfinite(self.values[name]))
            found[name] = mean_interval(self.values[name][rows], self.about(rows), share=_SHARES.get(name))
        return found

    def about(self, rows: IntArray) -> list[str] | None:
        """Return the prompts of some responses; ``None`` where nobody knows them."""
        return None if self.prompts is None else [self.prompts[row] for row in rows]

    def spreads(self) -> dict[str, float]:
        """Return the standard deviation of every measure over the responses."""
        return {name: float(np.std(_known(self.values[name]))) for name in self.names()}

    def names(self) -> list[str]:
        """Return the names of the measures that have a value, in the order of :data:`MEASURES`, then the others."""
        ordered = [*MEASURES, *sorted(set(self.values) - set(MEASURES))]
        return [name for name in ordered if name in self.values and _known(self.values[name]).size]

    def with_values(self, values: Mapping[str, FloatArray]) -> Measures:
        """Return these measures and more."""
        return Measures({**self.values, **values}, self.prompts)


def score_responses(
    task: Task, examples: Sequence[Example], responses: Sequence[str], reward: RewardFn | None
) -> Measures:
    """Score ``n`` responses by the reward, the true quality (where the data knows it) and the task's own metrics.

    Args:
        task: Who knows what is good.
        examples: The ``n`` examples that were asked.
        responses: ``n`` texts, as a user would see them.
        reward: A resolved reward; ``None`` leaves it out.

    Raises:
        ValueError: Examples and responses differ in number.
        RewardError: The reward or a metric does not return one finite number per text.
    """
    if len(examples) != len(responses):
        raise ValueError(f"expected one response per example, got {len(responses)} for {len(examples)} examples")
    prompts = [task.format_prompt(example) for example in examples]
    values: dict[str, FloatArray] = {}
    if reward is not None:
        values["reward"] = score(reward, prompts, responses, examples).total
    gold = gold_scores(task, responses, examples)
    if gold is not None:
        values["gold"] = gold
    answerable = np.flatnonzero([bool(example.references) for example in examples])
    if answerable.size:
        for name, metric in task.metrics.items():
            values[name] = _on_rows(metric, name, answerable, prompts, responses, examples)
    return Measures(values, prompts)


def compare(before: Measures, after: Measures) -> dict[str, Interval]:
    """Return the mean of ``after - before`` with its 95 % interval, pairing the responses to the same example.

    Measures that only one side has, and texts for which one side has no value, are left out.
    """
    differences = {}
    for name in before.names():
        if name in after.values:
            first, second = after.values[name], before.values[name]
            both = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
            if both.size:
                differences[name] = paired_difference_interval(
                    first[both], second[both], (after if after.prompts else before).about(both), share=_SHARES.get(name)
                )
    return differences


def fixed_examples(dataset: Dataset, n: int) -> list[Example]:
    """Return the first ``n`` examples of a split (all, if there are fewer): the same ones for every agent.

    Raises:
        ValueError: ``n`` is below 1, or the split is empty.
    """
    if n < 1:
        raise ValueError(f"expected at least 1 prompt to evaluate on, got {n}; raise it")
    if not len(dataset):
        raise ValueError(f"expected examples in the {dataset.split} split of {dataset.name!r}, got none; add data")
    return [dataset[index] for index in range(min(n, len(dataset)))]


def _on_rows(
    metric: RewardFn,
    name: str,
    rows: np.ndarray,
    prompts: Sequence[str],
    responses: Sequence[str],
    examples: Sequence[Example],
) -> FloatArray:
    """Return a metric's values for ``rows``, NaN for the others; shape ``(n,)``."""
    values = np.full(len(responses), np.nan)
    picked = [[items[row] for row in rows] for items in (prompts, responses)]
    values[rows] = score(metric, picked[0], picked[1], [examples[row] for row in rows], name=name).total
    return values


def _known(values: FloatArray) -> FloatArray:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]
