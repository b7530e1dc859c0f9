"""Counting what a training spends, measuring its agent on the way, and ending it where its budget is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stable_baselines3.common.vec_env import VecMonitor

from textgym.agents.facts import Offline, facts_of
from textgym.envs.acting import grain_of
from textgym.evaluation.core import EvaluationSet, evaluate
from textgym.models.probing.noise import random_states_kept
from textgym.training.comparison.budget import NOTHING, Budget, Spent
from textgym.training.comparison.records import Point
from textgym.training.machine import peak_memory
from textgym.training.preparation import Training
from textgym.training.run_folder import RunFolder
from textgym.types import JsonObject, Trainable
from textgym.values import as_object, is_number

FILE = "spent.jsonl"
"""What a run has spent after each iteration, with what was measured there."""
OF_TRAINING = ("reward", "kl", "entropy")
"""Numbers of an agent's own records that a curve keeps, as ``training/reward``."""


class Counter:
    """Counts what a training spends, as far as its agent, its records and its environment tell.

    Args:
        env: Environment that the agent learns in.
        spent: Amounts that were spent before, in a run that was interrupted.

    Attributes:
        spent: Amounts that are spent so far.
    """

    def __init__(self, env: object, spent: Spent | None = None) -> None:
        self.spent = spent or NOTHING
        self._env, self._before = env, self.spent
        self._texts, self._tokens = 0.0, 0.0  # as records tell them
        self._episodes = _episodes_of(env)

    def add(self, agent: Trainable, rows: Sequence[JsonObject], seconds: float) -> Spent:
        """Count what the iterations of some records have spent; arguments as of a watch."""
        for row in rows:
            texts = row.get("texts") or 0.0
            self._texts += texts
            self._tokens += row.get("tokens") or texts * (row.get("length") or 0.0)
        self.spent = Spent(self._all_tokens(agent), self.spent.seconds + seconds, self._all_labels(agent))
        return self.spent

    def _all_tokens(self, agent: Trainable) -> float | None:
        if isinstance(agent, Offline):
            return agent.num_timesteps * agent.tokens_per_step()
        if facts_of(type(agent)).samples and grain_of(type(agent)) == "token":
            return float(agent.num_timesteps)
        return self._more_than(self._before.tokens, self._tokens, agent)

    def _all_labels(self, agent: Trainable) -> float | None:
        if isinstance(agent, Offline):
            return float(agent.labels)
        if facts_of(type(agent)).samples and grain_of(type(agent)) == "episode":
            return float(agent.num_timesteps)
        # An environment that ends more texts than the agent learns from has had all of them scored.
        return self._more_than(self._before.labels, max(self._texts, _episodes_of(self._env) - self._episodes), agent)

    def _more_than(self, before: float | None, now: float, agent: Trainable) -> float | None:
        """Return a sum; ``None`` where steps were made, and nothing was counted: the agent does not tell."""
        known = None if before is None else before + now
        return None if known == 0 and agent.num_timesteps else known


class Meter:
    """A watch that counts, measures the agent at some points of its budget, and ends the training behind the last.

    Everything goes to ``spent.jsonl`` in the run folder, from where an interrupted run goes on.

    Args:
        training: The run.
        budget: Budget of the run.
        curve: Prompts and reward of the measurements.
        points: Number of measurements beside the one at the start.
    """

    def __init__(self, training: Training, budget: Budget, curve: EvaluationSet, points: int) -> None:
        self._training, self._budget, self._curve, self._points = training, budget, curve, points
        made = training.agent.num_timesteps if training.resumed else -1
        rows = [row for row in read_spent(training.run) if row["timesteps"] <= made]
        training.run.write_rows(FILE, rows)
        self._due = max((self._after(row["share"]) for row in rows if "measures" in row), default=0)
        self._counter = Counter(training.env, spent_of(rows[-1]) if rows else None)
        # The texts that an offline agent learns from are limited when it is made, and spent at its first step.
        self._ends = budget.kind != "labels" or not isinstance(training.agent, Offline)

    def __call__(self, agent: Trainable, rows: Sequence[JsonObject], seconds: float) -> bool:
        """Count, measure if it is time, and return whether the budget is spent."""
        spent = self._counter.add(agent, rows, seconds)
        of_budget = self._budget.share(spent) if self._ends else 0.0
        share = min(1.0, max(agent.num_timesteps / self._training.steps, of_budget))
        is_due = share * self._points >= self._due
        if rows or is_due:
            row = {"timesteps": agent.num_timesteps, **spent._asdict(), "share": share, "memory": peak_memory()}
            self._training.run.append_row(FILE, row | (self._measure(agent, rows) if is_due else {}))
        if is_due:
            self._due = self._after(share)
        return of_budget >= 1

    def _after(self, share: float) -> int:
        """Return the number of the first point behind a share of the budget."""
        return math.floor(share * self._points) + 1

    def _measure(self, agent: Trainable, rows: Sequence[JsonObject]) -> dict[str, Any]:
        with random_states_kept():
            found = evaluate(agent, self._curve, tokenizer=self._training.settings.model)
        own = rows[-1] if rows else {}
        of_training = {f"training/{name}": own[name] for name in OF_TRAINING if own.get(name) is not None}
        return {"measures": {name: mean.mean for name, mean in found.measures.intervals().items()} | of_training}


def part_of(eval_set: EvaluationSet, prompts: int) -> EvaluationSet:
    """Return an evaluation on the first prompts of another."""
    return replace(eval_set, examples=eval_set.examples[:prompts])


def read_spent(run: RunFolder) -> list[JsonObject]:
    """Return the rows of ``spent.jsonl``, without those that are none."""
    names = ("timesteps", "seconds", "share")
    return [row for row in run.read_rows(FILE) if all(is_number(row.get(name)) for name in names)]


def spent_of(row: Mapping[str, Any]) -> Spent:
    """Return what a row says that was spent."""
    tokens, labels = (float(row[name]) if is_number(row.get(name)) else None for name in ("tokens", "labels"))
    return Spent(tokens, float(row["seconds"]), labels)


def points_of(rows: Sequence[JsonObject]) -> Iterator[Point]:
    """Yield the points of rows of ``spent.jsonl`` at which the agent was measured."""
    for row in rows:
        measures = as_object(row.get("measures"))
        if measures:
            yield Point(spent_of(row), {name: value for name, value in measures.items() if is_number(value)})


def _episodes_of(env: object) -> int:
    """Return how many texts an environment has ended since it was made; 0 where it does not count."""
    return env.episode_count if isinstance(env, VecMonitor) else 0
