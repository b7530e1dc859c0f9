"""The length of runs: counted beforehand where it can be, and else measured in a trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.comparison.conftest import BANDIT
from tests.training.comparison.test_meter import Speaks, Writes, row
from textgym.envs.choice import EnvChoice
from textgym.errors import TextGymError
from textgym.training.comparison import Budget, ComparisonSettings, comparison_settings
from textgym.training.comparison.planning import Plan, Trial, plan_at_once, plan_runs
from textgym.training.setup import make_agent, make_env

Make = Callable[..., ComparisonSettings]


@pytest.mark.parametrize(
    ("agent", "budget", "plan"),
    [
        ("ppo", "tokens=500", Plan(500)),
        ("ppo", "seconds=500", None),
        ("ppo", "labels=500", None),
        ("sft", "tokens=500", None),
        (BANDIT, "labels=500", Plan(500)),
        (BANDIT, "tokens=500", None),
    ],
)
def test_a_budget_of_time_steps_needs_no_trial(agent: str, budget: str, plan: Plan | None, settings: Make) -> None:
    made = settings(agent, budget=budget)
    assert plan_at_once(made, next(iter(made.agents))) == plan


def test_a_trial_leaves_out_its_first_iteration() -> None:
    trial, agent = Trial(None, 2.0), Writes()
    ends = []
    for seconds in (10.0, 1.0, 1.0):  # caches are filled first
        agent.num_timesteps += 100
        ends.append(trial(agent, [row(texts=20)], seconds))  # type: ignore[arg-type]
    assert ends == [False, False, True]
    assert trial.steps_for(Budget("seconds", 30)) == 3000
    assert trial.steps_for(Budget("labels", 100)) == 500


def test_a_trial_of_what_nobody_counts_tells_nothing() -> None:
    trial, agent = Trial(None, 2.0), Speaks()
    for _ in range(3):
        agent.num_timesteps += 10
        trial(agent, [row()], 1.0)  # type: ignore[arg-type]
    assert trial.steps_for(Budget("tokens", 100)) is None
    assert Trial(None, 1.0).steps_for(Budget("seconds", 1)) is None


@pytest.mark.usefixtures("no_plots")
def test_a_trial_is_a_training_that_leaves_nothing_behind(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.training.comparison.planning._LONGEST", 0.0)
    plan = plan_runs(settings(BANDIT, budget="seconds=2"), "TextBandit", Path("trial"))
    assert plan.steps > 4
    assert plan.limit is None
    assert not Path("trial").exists()
    with pytest.raises(TextGymError, match="expected an agent that tells how many tokens it spends, got 'TextBandit'"):
        plan_runs(settings(BANDIT, budget="tokens=100"), "TextBandit", Path("trial"))
    assert not Path("trial").exists()


def test_an_offline_agent_reads_the_tokens_of_its_data(settings: Make) -> None:
    tokens = plan_runs(settings("sft", budget="tokens=5000", option=["sft:batch-size=4"]), "sft", Path("trial"))
    twice = plan_runs(settings("sft", budget="tokens=10000", option=["sft:batch-size=4"]), "sft", Path("trial"))
    assert twice.steps == pytest.approx(2 * tokens.steps, abs=1)
    labels = plan_runs(settings("sft", budget="labels=10"), "sft", Path("trial"))
    assert labels == Plan(500, 10)  # the default of its steps
    assert not Path("trial").exists()


@pytest.mark.parametrize(("agent", "option"), [("dpo", "feedback"), ("awr", "log")])
def test_a_budget_of_labels_limits_the_data_of_a_file(agent: str, option: str) -> None:
    """Of 64 preferences, or logged texts, 20 are learned from."""
    rows = [
        {
            "prompt": f"{a}{b}{c}=",
            "chosen": a + b + c,
            "rejected": "ccc",
            "state": a + b + c,
            "action": "abc",
            "reward": 1,
        }
        for a in "abde"
        for b in "abde"
        for c in "abde"
    ]
    columns = {"dpo": ("prompt", "chosen", "rejected"), "awr": ("state", "action", "reward")}[agent]
    Path("data.jsonl").write_text("".join(json.dumps({name: row[name] for name in columns}) + "\n" for row in rows))
    made = comparison_settings(
        EnvChoice("TextSpell-v0"), [agent], [f"{agent}:{option}=data.jsonl"], budget="labels=20", n_envs=1
    )
    plan = plan_runs(made, agent, Path("trial"))
    assert plan.limit == 20
    own = made.of_run(agent, 0, Path("x"), plan.steps, plan.limit)
    learner: Any = make_agent(own, make_env(own))
    assert learner.labels == 20


@pytest.mark.parametrize(
    ("record", "plan"), [({"steps": 3, "limit": None}, Plan(3)), ({"steps": 0, "limit": None}, None)]
)
def test_plans_are_stored(record: Any, plan: Plan | None) -> None:
    assert Plan.from_json(record) == plan
    assert Plan.from_json({"steps": "3", "limit": None}) is None
