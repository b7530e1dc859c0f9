"""The results of a comparison: aggregates over seeds, learning curves, and how likely one agent beats another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from textgym.metrics.aggregates import (
    interquartile_mean_band,
    interquartile_mean_interval,
    probability_of_improvement,
)
from textgym.pages import escaped, table
from textgym.training.comparison.budget import Budget, Kind
from textgym.training.comparison.records import RunRecord, Sample
from textgym.types import FloatArray, Interval, JsonObject

START = "start model"
"""The row of what the language models wrote before training."""
TITLES: Mapping[str, str] = {"kl": "KL, nats per text", "length": "length, tokens"}
"""What measures are called in tables and plots, if not by their names."""
_GRID = 30  # points of a curve
_OF_MODEL = "kl"  # measured where a language model wrote


class Curve(NamedTuple):
    """A learning curve over seeds.

    Attributes:
        spent: Amount that was spent, shape ``(G,)``.
        mean, low, high: Interquartile mean of the runs there, and its 95 % interval, shape ``(G,)``.
    """

    spent: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


class Change(NamedTuple):
    """The change of a measure by training.

    Attributes:
        before, after: Interquartile means over seeds.
        difference: Interquartile mean of ``after - before`` of each run, with its 95 % interval.
    """

    before: float
    after: float
    difference: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Finished runs of several agents, which started alike and had the same budget.

    Attributes:
        budget: Budget of each run; ``None`` where runs were not made for one, and each has spent what it has.
        settings: Settings that are the same for all of them, as JSON.
        runs: The records.
    """

    budget: Budget | None
    settings: JsonObject
    runs: tuple[RunRecord, ...]

    def __repr__(self) -> str:
        """Return environment, budget, and the reward of each agent, in one line."""
        rewards = [f"{label} {found.mean:.3g}" for label in self.ranked if (found := self.after("reward", label))]
        env = self.settings.get("choice", {}).get("env_id", "")
        budget = "" if self.budget is None else f", {self.budget.words}"
        return f"<{type(self).__name__} on {env}{budget}: {', '.join(rewards) or 'no finished runs'}>"

    @property
    def kind(self) -> Kind:
        """The axis of curves: the kind of the budget, or else tokens, if all that learn count them."""
        if self.budget is not None:
            return self.budget.kind
        return "tokens" if all(run.spent.tokens for run in self.runs if run.learns) else "seconds"

    def _repr_html_(self) -> str:
        """Return the agents with what was measured at the end, as a table; IPython asks for it."""
        names = self.measures()
        rows = [(label, *(_cell(self.after(name, label)) for name in names)) for label in self.ranked]
        return f"<p>{escaped(repr(self))}</p>{table(('agent', *names), rows)}"

    @property
    def labels(self) -> list[str]:
        """The agents, in the order in which they were first run."""
        return list(dict.fromkeys(run.label for run in self.runs))

    @property
    def ranked(self) -> list[str]:
        """The agents, the one with the highest reward first."""
        rewards = {label: self.after("reward", label) for label in self.labels}
        return sorted(self.labels, key=lambda label: -np.inf if (found := rewards[label]) is None else -found.mean)

    def runs_of(self, label: str) -> list[RunRecord]:
        """Return the runs of an agent by seed; failed ones among them."""
        return sorted((run for run in self.runs if run.label == label), key=lambda run: run.seed)

    def finished(self, label: str) -> list[RunRecord]:
        """Return the runs of an agent that were measured at their end, by seed."""
        return [run for run in self.runs_of(label) if run.after]

    def measures(self) -> list[str]:
        """Return the names of all that was measured at the end, in the order in which it is shown."""
        return list(dict.fromkeys(name for run in self.runs for name in run.after))

    # ------------------------------------------------------------ over seeds
    def after(self, measure: str, label: str) -> Interval | None:
        """Return the interquartile mean of a measure after training; ``None`` where no run has it."""
        return aggregate([run.after[measure].mean for run in self.finished(label) if measure in run.after])

    def start(self, measure: str) -> Interval | None:
        """Return that of what language models wrote before training, which is the same for all of one seed."""
        by_seed: dict[int, float] = {}
        for run in self.runs:
            if measure in run.before and _OF_MODEL in run.before:
                by_seed.setdefault(run.seed, run.before[measure].mean)
        return aggregate(list(by_seed.values()))

    def change(self, measure: str, label: str) -> Change | None:
        """Return what training did to a measure; ``None`` where no run was measured before and after."""
        pairs = [
            (run.before[measure].mean, run.after[measure].mean)
            for run in self.finished(label)
            if measure in run.before and measure in run.after
        ]
        before, after = (aggregate([pair[side] for pair in pairs]) for side in (0, 1))
        difference = aggregate([last - first for first, last in pairs])
        if before is None or after is None or difference is None:
            return None
        return Change(before.mean, after.mean, difference)

    def cost(self, label: str, of_run: Callable[[RunRecord], float | None]) -> Interval | None:
        """Return the interquartile mean of a number of each run; ``None`` where no run has it."""
        return aggregate([found for run in self.finished(label) if (found := of_run(run)) is not None])

    def improvement(self, measure: str, label: str, over: str) -> Interval | None:
        """Return how likely a run of one agent scores more than a run of another; ``None`` if one has no runs."""
        sides = [
            [run.after[measure].mean for run in self.finished(each) if measure in run.after] for each in (label, over)
        ]
        return probability_of_improvement([sides[0]], [sides[1]]) if all(sides) else None

    def has_curve(self, measure: str, label: str, kind: Kind) -> bool:
        """Say whether an agent has a learning curve of a measure: it spent something of this kind on its way."""
        return bool(self._lines(measure, label, kind))

    def curve(self, measure: str, label: str, kind: Kind) -> Curve | None:
        """Return the learning curve of a measure against what was spent; ``None`` where there is none."""
        lines = self._lines(measure, label, kind)
        if not lines:
            return None
        grid = np.linspace(0.0, max(spent[-1] for spent, _ in lines), _GRID)
        return Curve(grid, *interquartile_mean_band(np.stack([np.interp(grid, *line) for line in lines])))

    def _lines(self, measure: str, label: str, kind: Kind) -> list[tuple[FloatArray, FloatArray]]:
        """Return what each run had spent at its points, and a measure there; nothing unless all of them were going."""
        lines = [line for run in self.finished(label) if (line := line_of(run, measure, kind)) is not None]
        return lines if all(len(spent) > 1 and spent[-1] > spent[0] for spent, _ in lines) else []

    def samples(self) -> list[tuple[Sample, dict[str, Sample]]]:
        """Return prompts with what each agent wrote in its first run; the first sample has the start model's text."""
        firsts = {label: runs[0] for label in self.ranked if (runs := self.finished(label))}
        keys = dict.fromkeys(sample.key for run in firsts.values() for sample in run.samples)
        found = []
        for key in keys:
            texts = {label: each for label, run in firsts.items() for each in run.samples if each.key == key}
            shown = next((each for each in texts.values() if each.before is not None), next(iter(texts.values())))
            found.append((shown, texts))
        return found


def aggregate(scores: Sequence[float]) -> Interval | None:
    """Return the interquartile mean of one number per run with its 95 % interval; ``None`` of none."""
    known = tuple(score for score in scores if np.isfinite(score))
    return _interval_of(known) if known else None


def _cell(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


@cache  # tables, plots and sentences ask for the same ones
def _interval_of(scores: tuple[float, ...]) -> Interval:
    return interquartile_mean_interval([scores])


def line_of(run: RunRecord, measure: str, kind: Kind) -> tuple[FloatArray, FloatArray] | None:
    """Return what was spent at the points of a run, and a measure there; ``None`` where it has none of them."""
    points = [point for point in run.points if measure in point.measures and point.spent.of(kind) is not None]
    if not points:
        return None
    spent = np.array([point.spent.of(kind) for point in points], dtype=np.float64)
    return spent, np.array([point.measures[measure] for point in points], dtype=np.float64)
