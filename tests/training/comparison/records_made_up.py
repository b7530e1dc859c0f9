"""Records of runs that nobody made, with numbers that are easy to reckon with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textgym.training.comparison import Budget, Comparison, Point, RunRecord, Sample, Spent
from textgym.types import Interval, JsonObject

SHARED: JsonObject = {"choice": {"env_id": "TextSpell-v0"}, "budget": "tokens=1000", "model": "letters", "splits": {}}


def interval(mean: float) -> Interval:
    return Interval(mean, round(mean - 0.1, 6), round(mean + 0.1, 6))


def made_up(label: str, seed: int, rewards: tuple[float, ...], **changes: Any) -> RunRecord:
    """A run of 1,000 tokens in 10 seconds, whose reward, and gold, went from the first of these to the last."""
    last = len(rewards) - 1
    points = tuple(
        Point(Spent(1000.0 * place / last, 10.0 * place / last, 250.0 * place / last), {"reward": reward})
        for place, reward in enumerate(rewards)
    )
    measures = {"length": 4.0, "kl": 0.0, "diversity": 0.8, "eos": 1.0}
    record = RunRecord(
        label=label,
        seed=seed,
        agent=label,
        learns=True,
        unit="tokens",
        settings={**SHARED, "agent": label, "options": {}},
        before={
            name: interval(value) for name, value in {**measures, "reward": rewards[0], "gold": rewards[0]}.items()
        },
        after={
            name: interval(value)
            for name, value in {**measures, "kl": 1.5, "reward": rewards[-1], "gold": rewards[-1]}.items()
        },
        points=points,
        samples=(Sample("words/0", "abc=", "bbb", "abc", rewards[-1]),),
        spent=points[-1].spent,
        steps=1000,
        planned=1000,
        evaluation_seconds=2.0,
        memory=512 * 2**20,
        machine={"processor": "abacus", "threads": 1},
        versions={"python": "3.11"},
    )
    return replace(record, **changes)


def with_after(record: RunRecord, **measures: float) -> RunRecord:
    """The same run with other measures at its end."""
    return replace(record, after={**record.after, **{name: interval(value) for name, value in measures.items()}})


def evaluated(label: str, seed: int, reward: float) -> RunRecord:
    """A run of an agent that learns nothing."""
    point = Point(Spent(), {"reward": reward})
    return made_up(
        label, seed, (reward, reward), learns=False, before={}, points=(point,), spent=Spent(), steps=0, planned=0
    )


def compared(*runs: RunRecord) -> Comparison:
    return Comparison(Budget("tokens", 1000), SHARED, runs)
