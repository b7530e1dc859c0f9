"""The quality of texts: measures of a list of responses, their means and intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from textgym.envs.scoring import score_last_turns
from textgym.errors import RewardError
from textgym.metrics.intervals import mean_interval, paired_difference_interval
from textgym.metrics.significance import PairedTest, paired_test
from textgym.naming import argument
from textgym.pages import table
from textgym.rewards import gold_scores
from textgym.tasks.base import prompt_text
from textgym.text.plurals import counted
from textgym.types import Dataset, Episode, Example, FloatArray, IntArray, Interval, Metric, RewardFn, Task, episodes_of

_FIRST = ("reward", "gold")
_MAIN = 2  # of the others, how many a result shows of itself
_LAST = ("kl", "length", "eos")  # the metrics of the task are shown in between
_SHARES: Mapping[str, bool] = {"eos": True, "kl": False, "length": False}  # of others their values tell


_BOUNDED = ("rouge1", "rouge2", "rougeL", "distinct_2", "repetition_4")
"""Measures whose values are from 0 to 1, so that no mean of them is outside."""


@dataclass(frozen=True, slots=True, repr=False)
class Measures:
    """The measures of ``n`` responses.

    Attributes:
        values: Name -> one number per response, shape ``(n,)``; NaN where a measure does not apply to an example (ROUGE
            without a reference).
        prompts: Key of each response's prompt, shape ``(n,)``: those to one prompt are not independent. ``None``: all
            are.
    """

    values: Mapping[str, FloatArray]
    prompts: Sequence[str] | None = None

    @property
    def main(self) -> str:
        """The first means, the KL and the length, with their 95 % intervals, in one line."""
        means = self.intervals()
        first = [name for name in means if name not in _LAST][:_MAIN]
        return (
            ", ".join(f"{name} {_short(means[name])}" for name in (*first, *_LAST[:2]) if name in means)
            or "no measures"
        )

    def __repr__(self) -> str:
        """Return the number of responses and the main means, in one line."""
        n = max(map(len, self.values.values()), default=0)
        return f"<{type(self).__name__} of {counted(n, 'texts')}: {self.main}>"

    def _repr_html_(self) -> str:
        """Return the means as a table; IPython asks for it."""
        spreads = self.spreads()
        rows = [(name, _short(interval), f"{spreads[name]:.3g}") for name, interval in self.intervals().items()]
        return table(("measure", "mean, 95 % interval", "standard deviation"), rows)

    def intervals(self) -> dict[str, Interval]:
        """Return the mean of every measure with its 95 % interval."""
        found = {}
        for name in self.names():
            rows = np.flatnonzero(np.isfinite(self.values[name]))
            mean = mean_interval(self.values[name][rows], self.about(rows), share=_SHARES.get(name))
            found[name] = _within(mean, 0.0, 1.0) if name in _BOUNDED else mean
        return found

    def about(self, rows: IntArray) -> list[str] | None:
        """Return the prompts of some responses; ``None`` where they are unknown."""
        return None if self.prompts is None else [self.prompts[row] for row in rows]

    def spreads(self) -> dict[str, float]:
        """Return the standard deviation of every measure over the responses."""
        return {name: float(np.std(_known(self.values[name]))) for name in self.names()}

    def names(self) -> list[str]:
        """Return the names of the measures that have a value, in the order in which they are shown."""
        ordered = [*_FIRST, *(name for name in self.values if name not in (*_FIRST, *_LAST)), *_LAST]
        return [name for name in ordered if name in self.values and _known(self.values[name]).size]

    def with_values(self, values: Mapping[str, FloatArray]) -> Measures:
        """Return these measures and more."""
        return Measures({**self.values, **values}, self.prompts)


def score_responses(
    task: Task, examples: Sequence[Example], responses: Sequence[str], reward: RewardFn | None
) -> Measures:
    """Measure ``n`` responses as episodes of one turn; see :func:`measure`.

    Args:
        task: Task that computes the metrics.
        examples: The ``n`` examples that were asked.
        responses: ``n`` texts, as a user would see them.
        reward: A resolved reward; ``None`` leaves it out.

    Raises:
        ValueError: Examples and responses differ in number.
        RewardError: The reward or a metric does not return one finite number per response.
    """
    if len(examples) != len(responses):
        raise ValueError(f"expected one response per example, got {len(responses)} for {len(examples)} examples")
    return measure(task, episodes_of(examples, responses), reward)


def measure(task: Task, episodes: Sequence[Episode], reward: RewardFn | None) -> Measures:
    """Measure ``n`` episodes by their return, the true quality (where the data knows it) and the task's own metrics.

    ``"reward"`` is what environments pay in an episode: the reward of the last turn, and what the turns themselves are
    given by the task.

    Args:
        task: Task that computes the metrics.
        episodes: Finished episodes.
        reward: A resolved reward; ``None`` leaves ``"reward"`` out.

    Raises:
        RewardError: The reward or a metric does not return one finite number per episode.
    """
    values: dict[str, FloatArray] = {}
    if reward is not None:
        turns = np.array([episode.turn_return for episode in episodes])
        values["reward"] = score_last_turns(task, reward, episodes).total + turns
    gold = gold_scores(task, episodes)
    if gold is not None:
        values["gold"] = gold
    for name, metric in task.metrics.items():
        values[name] = measured(metric, name, episodes)
    return Measures(values, [prompt_text(task, episode.example) for episode in episodes])


def ended_by_eos(episodes: Sequence[Episode]) -> FloatArray:
    """Return 1 for every episode whose last turn the agent ended by itself, else 0; shape ``(n,)``."""
    return np.array([episode.finish_reason == "eos" for episode in episodes], dtype=np.float64)


@runtime_checkable
class Measured(Protocol):
    """Something that has been measured, such as an evaluation."""

    @property
    def measures(self) -> Measures:
        """Its measures."""
        ...


def compare(*, before: Measures | Measured, after: Measures | Measured) -> dict[str, Interval]:
    """Return the mean of ``after - before`` with its 95 % interval, pairing the responses to the same example.

    Both sides are named, so that a gain cannot be read as a loss. Measures that only one side has, and texts for which
    one side has no value, are left out.

    Args:
        before: Measures to subtract, or an evaluation that has them.
        after: Measures to subtract them from, on the same prompts.

    Raises:
        TypeError: A side has no measures.
        ValueError: The sides differ in the number of responses.
    """
    return {
        name: _bounded(name, paired_difference_interval(first, second, prompts, share=_SHARES.get(name)))
        for name, first, second, prompts in _pairs(_measures_of(before, "before"), _measures_of(after, "after"))
    }


def compare_significance(*, before: Measures | Measured, after: Measures | Measured) -> dict[str, PairedTest]:
    """Return what :func:`compare` does with p-values: :func:`~textgym.metrics.significance.paired_test` by prompt."""
    tests = {
        name: paired_test(first, second, prompts, share=_SHARES.get(name))
        for name, first, second, prompts in _pairs(_measures_of(before, "before"), _measures_of(after, "after"))
    }
    return {name: test._replace(difference=_bounded(name, test.difference)) for name, test in tests.items()}


def _bounded(name: str, difference: Interval) -> Interval:
    return _within(difference, -1.0, 1.0) if name in _BOUNDED else difference


def _pairs(before: Measures, after: Measures) -> Iterator[tuple[str, FloatArray, FloatArray, list[str] | None]]:
    """Yield the measures that both sides have: name, values of ``after`` and ``before``, prompts."""
    for name in before.names():
        if name in after.values:
            first, second = after.values[name], before.values[name]
            if len(first) != len(second):
                raise ValueError(
                    f"expected responses to the same prompts, got {len(second)} before and {len(first)} after; "
                    "evaluate both on one evaluation set"
                )
            both = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
            if both.size:
                yield name, first[both], second[both], (after if after.prompts else before).about(both)


def _measures_of(side: Measures | Measured, name: str) -> Measures:
    match side:
        case Measures():
            return side
        case Measured():
            return side.measures
    raise TypeError(
        f"expected {argument(name)} to be measures or an evaluation, got {type(side).__name__}; give what evaluate() "
        "returns"
    )


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


def _within(interval: Interval, least: float, most: float) -> Interval:
    """Return an interval without what lies outside; the mean stays in it."""
    low, high = max(interval.low, least), min(interval.high, most)
    return Interval(interval.mean, min(low, interval.mean), max(high, interval.mean))


def measured(metric: Metric, name: str, episodes: Sequence[Episode]) -> FloatArray:
    """Return a metric's values, NaN where it does not apply; shape ``(n,)``.

    Raises:
        RewardError: The metric does not return one number per episode.
    """
    values: FloatArray = np.asarray(metric(episodes), dtype=np.float64)
    if values.shape != (len(episodes),) or np.isinf(values).any():
        raise RewardError(
            f"expected {len(episodes)} numbers (NaN where it does not apply) from the metric {name!r}, got an array of "
            f"shape {values.shape}{' with infinite ones' if np.isinf(values).any() else ''}; return one per episode"
        )
    return values


def _known(values: FloatArray) -> FloatArray:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


def _short(mean: Interval) -> str:
    """Return a mean with the bounds that are known."""
    bounds = f" [{mean.low:.3g}, {mean.high:.3g}]" if np.isfinite([mean.low, mean.high]).all() else ""
    return f"{mean.mean:.3g}{bounds}"
