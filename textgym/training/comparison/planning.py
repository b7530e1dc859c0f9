"""The number of time steps that an agent makes for its budget: counted beforehand, or measured in a short trial."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard

from textgym.agents.facts import Offline, facts_of
from textgym.envs.acting import grain_of
from textgym.errors import TextGymError
from textgym.naming import argument
from textgym.training.comparison.budget import Budget, Spent
from textgym.training.comparison.meter import Counter
from textgym.training.comparison.settings import ComparisonSettings
from textgym.training.preparation import begin
from textgym.training.setup import make_agent, make_env
from textgym.training.stored_settings import located
from textgym.training.train import train
from textgym.training.train_settings import TrainSettings
from textgym.types import Agent, JsonObject, Trainable

_LONGEST, _SHARE = 10.0, 0.15  # seconds of a trial, and share of a budget of seconds
_FEWEST, _MOST = 3, 50  # iterations; the first one, which warms caches up, does not count
_NEVER = 2**31 - 1


class Plan(NamedTuple):
    """The length of all runs of an agent.

    Attributes:
        steps: Time steps. The learning rate falls over so many, and no more are made.
        limit: Examples that an offline agent learns from; ``None`` for all.
    """

    steps: int
    limit: int | None = None

    @classmethod
    def from_json(cls, record: object) -> Plan | None:
        """Read what ``_asdict`` wrote; ``None`` if it is something else."""
        match record:
            case {"steps": int(steps), "limit": None | int() as limit} if steps > 0:
                return cls(steps, limit)
        return None


class Trial:
    """A watch that measures how fast a training spends, and ends it after a few iterations and seconds.

    Args:
        env: Environment that the agent learns in.
        seconds: Length, unless that is less than a few iterations.
    """

    def __init__(self, env: object, seconds: float) -> None:
        self._counter, self._seconds = Counter(env), seconds
        self._moments: list[tuple[int, Spent]] = []  # the end of each iteration

    def __call__(self, agent: Trainable, rows: Sequence[JsonObject], seconds: float) -> bool:
        """Count; true at the end of the trial."""
        spent = self._counter.add(agent, rows, seconds)
        if rows:
            self._moments.append((agent.num_timesteps, spent))
        return len(self._moments) >= _FEWEST and spent.seconds >= self._seconds

    def steps_for(self, budget: Budget) -> int | None:
        """Return the time steps that spend a budget at the rate of the trial; ``None`` where nothing was counted."""
        if len(self._moments) < 2:
            return None
        (steps, spent), (later_steps, later) = self._moments[0], self._moments[-1]
        first, last = spent.of(budget.kind), later.of(budget.kind)
        if first is None or last is None or last <= first or later_steps <= steps:
            return None
        return max(1, int(budget.amount * (later_steps - steps) / (last - first)))


def plan_at_once(settings: ComparisonSettings, label: str) -> Plan | None:
    """Return the length of the runs of an agent whose time steps are what the budget counts; ``None`` for others."""
    budget, kind = settings.allowed, settings.kind_of(label)
    unit = "tokens" if grain_of(kind) == "token" else "labels"
    is_counted = facts_of(kind).samples and budget.kind == unit
    return Plan(max(1, int(budget.amount))) if is_counted else None


def plan_runs(settings: ComparisonSettings, label: str, folder: Path) -> Plan:
    """Make an agent that learns, count what it is given, or try it out, and return the length of its runs.

    Args:
        settings: Settings of the comparison.
        label: Label of the agent.
        folder: Where the files of a trial go; it is removed afterwards.

    Raises:
        TextGymError: The agent does not tell how much it spends of this kind.
    """
    budget, kind = settings.allowed, settings.kind_of(label)
    of_trial = located(settings.of_run(label, settings.seed, folder))
    if not facts_of(kind).samples and budget.kind != "seconds":
        return _plan_offline(of_trial, budget, label)
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
    try:
        steps = _try_out(of_trial, budget)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if steps is None:
        raise _untold(label, budget)
    return Plan(steps)


def _plan_offline(settings: TrainSettings, budget: Budget, label: str) -> Plan:
    """Count the texts that an agent is given; its steps are those of the budget, or else its own default."""
    agent: Agent = make_agent(settings, make_env(settings))
    if not _tells(agent):
        raise _untold(label, budget)
    if budget.kind == "tokens":
        return Plan(max(1, round(budget.amount / agent.tokens_per_step())))
    wanted = int(budget.amount)
    # An example can have several demonstrations, and each of them is a label.
    limit = wanted if agent.labels <= wanted else max(1, wanted * wanted // agent.labels)
    return Plan(settings.steps, limit)


def _tells(agent: Agent) -> TypeGuard[Offline]:
    return isinstance(agent, Offline) and agent.labels > 0 and agent.tokens_per_step() > 0


def _try_out(settings: TrainSettings, budget: Budget) -> int | None:
    training = begin(settings, None)
    seconds = min(_LONGEST, _SHARE * budget.amount) if budget.kind == "seconds" else _LONGEST
    trial = Trial(training.env, seconds)
    with training.run:
        steps = _MOST * training.agent.steps_per_iteration
        train(training.agent, steps, training.run, save_every=_NEVER, watch=trial)
    return trial.steps_for(budget)


def _untold(label: str, budget: Budget) -> TextGymError:
    return TextGymError(
        f"expected an agent that tells how many {budget.kind} it spends, got {label!r}, which does not; give "
        f"{argument('budget')} seconds=N, or let its records have {'tokens' if budget.kind == 'tokens' else 'texts'}"
    )
