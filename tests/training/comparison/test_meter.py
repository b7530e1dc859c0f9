"""What a training spends is counted for every kind of agent, measured at shares of the budget, and ended there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from textgym.agents.facts import AgentFacts
from textgym.training.comparison import Budget, Spent, meter
from textgym.training.comparison.meter import Counter, Meter, read_spent, spent_of
from textgym.training.run_folder import RunFolder


class Writes:
    """An agent that writes tokens."""

    grain = "token"

    def __init__(self, steps: int = 0) -> None:
        self.num_timesteps = steps


class Reads(Writes):
    """An agent that learns from given texts, and tells how many."""

    facts: ClassVar[AgentFacts] = AgentFacts(samples=False)
    labels = 30

    def tokens_per_step(self) -> float:
        return 12.0


class Silent(Writes):
    """An agent that learns from given texts, and tells nothing."""

    facts: ClassVar[AgentFacts] = AgentFacts(samples=False)


class Speaks(Writes):
    """An agent that writes whole texts."""

    grain = "episode"


def row(**numbers: float) -> dict[str, float]:
    return {"timesteps": 0.0, **numbers}


@pytest.mark.parametrize(
    ("agent", "rows", "spent"),
    [
        (Writes(50), [row(texts=3), row(texts=4)], Spent(50, 2.0, 7)),
        (Writes(50), [row(), row()], Spent(50, 2.0, None)),  # nobody counts its texts
        (Reads(10), [row(loss=1.0)], Spent(120, 2.0, 30)),
        (Silent(10), [row(loss=1.0)], Spent(None, 2.0, None)),
        (Speaks(8), [row(length=5.0, texts=4), row(length=6.0, texts=4)], Spent(44, 2.0, 8)),
        (Speaks(8), [row(tokens=70.0)], Spent(70, 2.0, 8)),
        (Speaks(8), [row()], Spent(None, 2.0, 8)),
    ],
)
def test_what_agents_spend(agent: Any, rows: list[dict[str, float]], spent: Spent) -> None:
    assert Counter(None).add(agent, rows, 2.0) == spent


def test_texts_that_an_environment_ends_are_scored_even_if_nobody_learns_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meter, "VecMonitor", SimpleNamespace)
    env = SimpleNamespace(episode_count=100)
    counter = Counter(env)
    env.episode_count = 110
    assert counter.add(Writes(9), [row(texts=8)], 0.0).labels == 10  # type: ignore[arg-type]
    assert counter.add(Writes(9), [row(texts=8)], 0.0).labels == 16  # type: ignore[arg-type]


def test_counting_goes_on_behind_an_interruption() -> None:
    counter = Counter(None, Spent(40, 5.0, 6))
    assert counter.add(Writes(60), [row(texts=2)], 1.5) == Spent(60, 6.5, 8)  # type: ignore[arg-type]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training of 100 steps whose agent is never really measured."""
    asked: list[int] = []

    def evaluated(agent: Any, *_: Any, **__: Any) -> Any:
        asked.append(agent.num_timesteps)
        mean = SimpleNamespace(mean=0.5)
        return SimpleNamespace(measures=SimpleNamespace(intervals=lambda: {"reward": mean}))

    monkeypatch.setattr(meter, "evaluate", evaluated)
    run = RunFolder.create(tmp_path / "run", "train", {})
    settings = SimpleNamespace(model="tiny")
    return SimpleNamespace(run=run, agent=Writes(), env=None, steps=100, resumed=False, settings=settings, asked=asked)


def advance(meter: Meter, agent: Writes, steps: int, seconds: float = 1.0) -> bool:
    agent.num_timesteps += steps
    return meter(agent, [row(texts=1, reward=0.25, kl=0.1)], seconds)  # type: ignore[arg-type]


def test_an_agent_is_measured_at_shares_of_its_budget(training: Any) -> None:
    watch = Meter(training, Budget("tokens", 100), None, 4)  # type: ignore[arg-type]
    assert not watch(training.agent, [], 0.0)
    ends = [advance(watch, training.agent, 10) for _ in range(10)]
    assert ends == [False] * 9 + [True]
    assert not any(watch(training.agent, [], 0.0) is False for _ in range(2))  # the end stays the end
    assert training.asked == [0, 30, 50, 80, 100]
    rows = read_spent(training.run)
    assert len(rows) == 11
    assert spent_of(rows[-1]) == Spent(100, 10.0, 10)
    assert rows[3]["measures"] == {"reward": 0.5, "training/reward": 0.25, "training/kl": 0.1}
    assert rows[3]["memory"] is None or rows[3]["memory"] > 0


def test_the_clock_ends_a_training(training: Any) -> None:
    watch = Meter(training, Budget("seconds", 3.0), None, 1)  # type: ignore[arg-type]
    watch(training.agent, [], 0.0)
    assert [advance(watch, training.agent, 5, 1.25) for _ in range(3)] == [False, False, True]
    assert training.asked == [0, 15]


def test_a_run_that_makes_its_steps_before_its_budget_is_measured_at_the_end(training: Any) -> None:
    watch = Meter(training, Budget("labels", 500), None, 2)  # type: ignore[arg-type]
    watch(training.agent, [], 0.0)
    assert not any(advance(watch, training.agent, 25) for _ in range(4))
    assert training.asked == [0, 50, 100]


def test_given_labels_are_no_end(training: Any) -> None:
    training.agent = Reads()
    watch = Meter(training, Budget("labels", 30), None, 2)  # type: ignore[arg-type]
    watch(training.agent, [], 0.0)
    assert not any(advance(watch, training.agent, 25) for _ in range(4))
    assert training.asked == [0, 50, 100]


def test_an_interrupted_run_forgets_what_came_after_its_checkpoint(training: Any) -> None:
    watch = Meter(training, Budget("tokens", 100), None, 4)  # type: ignore[arg-type]
    watch(training.agent, [], 0.0)
    for _ in range(6):
        advance(watch, training.agent, 10)
    training.agent, training.resumed = Writes(40), True  # a checkpoint of before
    watch = Meter(training, Budget("tokens", 100), None, 4)  # type: ignore[arg-type]
    assert not watch(training.agent, [], 0.0)
    for _ in range(6):
        advance(watch, training.agent, 10)
    assert [row["timesteps"] for row in read_spent(training.run)] == [0, *range(10, 101, 10)]
    assert [row["timesteps"] for row in read_spent(training.run) if "measures" in row] == [0, 30, 50, 80, 100]
    assert spent_of(read_spent(training.run)[-1]) == Spent(100, 10.0, 10)


def test_rows_that_are_none_are_dropped(training: Any) -> None:
    training.run.write_rows(
        "spent.jsonl", [{"timesteps": "x"}, {"seconds": 1}, {"timesteps": 1, "seconds": 1, "share": 0}]
    )
    assert len(read_spent(training.run)) == 1
    assert spent_of(read_spent(training.run)[0]) == Spent(None, 1.0, None)
