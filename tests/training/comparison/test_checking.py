"""Mistakes in the settings of a comparison, which are found before there is a folder."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.comparison.conftest import BANDIT
from textgym.envs.choice import EnvChoice
from textgym.errors import TextGymError
from textgym.training import setup
from textgym.training.comparison import ComparisonSettings, comparison_settings, resume_comparison, run_comparison
from textgym.training.comparison.checking import check_comparison

Make = Callable[..., ComparisonSettings]


def spelling(agent: str, *option: str, **changes: Any) -> ComparisonSettings:
    values = {"seeds": 1, "budget": "tokens=100", "eval_prompts": 2, "n_envs": 4, "out": "cmp", **changes}
    return comparison_settings(EnvChoice("TextSpell-v0"), [agent], [f"{agent}:{each}" for each in option], **values)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the agents that are made."""
    names: list[str] = []
    real = setup.make_agent

    def make(settings: Any, env: object) -> Any:
        names.append(settings.agent)
        return real(settings, env)

    for module in ("preparation", "evaluate"):
        monkeypatch.setattr(f"textgym.training.{module}.make_agent", make)
    return names


@pytest.mark.parametrize(
    ("agent", "option", "changes", "error"),
    [
        ("grpo", "group-size=4", {"n_envs": 30}, "expected n_envs to be a multiple of group_size=4, .* got 30"),
        ("grpo", "group-size=4", {"n_envs": 1}, "expected n_envs to be a multiple of group_size=4, .* got 1;"),
        ("consensus_ppo", "agents=4", {"n_envs": 6}, "expected n_envs to be a multiple of the 4 agents, .* got 6"),
        ("reinforce", "rollout-texts=6", {}, "expected rollout_texts to be a multiple of the 4 environments, got 6"),
        ("dpo", "feedback=nothing.jsonl", {}, "nothing.jsonl"),
        ("awr", "log=nothing.csv", {}, "nothing.csv"),
        ("scripted", "script=nothing", {}, "expected script"),
    ],
)
def test_what_cannot_work_is_found_before_there_is_a_folder(
    agent: str, option: str, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises((ValueError, TextGymError, OSError), match=error) as caught:
        run_comparison(spelling(agent, option, **changes))
    assert caught.value.__notes__ == [f"This is about {agent!r}, whose options are option {agent}:NAME=VALUE."]
    assert not Path("cmp").exists()


def test_agents_are_made_once_unless_they_have_to_make_their_data(made: list[str]) -> None:
    check_comparison(spelling("grpo"))
    check_comparison(spelling("random"))
    assert made == ["grpo", "random"]
    check_comparison(spelling("dpo"))
    check_comparison(spelling("awr"))
    check_comparison(spelling("grpo"), begun=["grpo"])
    assert made == ["grpo", "random"]
    check_comparison(spelling("sft"))  # whose data is there
    assert made == ["grpo", "random", "sft"]


def test_what_is_drawn_later_does_not_depend_on_it() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    check_comparison(spelling("ppo"))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn


@pytest.mark.usefixtures("no_plots")
def test_a_comparison_that_goes_on_makes_no_agent_to_check_it(settings: Make, made: list[str]) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    assert made == [BANDIT, BANDIT]  # to be checked, and to learn
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    resume_comparison("cmp", [BANDIT, "tests.training.test_any_agent:longest"], apart=False)
    assert made == [BANDIT, BANDIT]
