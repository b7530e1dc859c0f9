"""The small model and data of tests that run commands, and a comparison of agents that need seconds at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.small_runs import data, lm, one_thread, own_folder
from textgym.envs.choice import EnvChoice
from textgym.training import train as pipeline
from textgym.training.comparison import ComparisonSettings, comparison_settings
from textgym.training.comparison import run as runs
from textgym.training.curves import LiveCurves

__all__ = ["data", "lm", "one_thread", "own_folder"]
OWN = "tests.training.test_any_agent"
BANDIT = f"{OWN}:TextBandit"


@pytest.fixture
def settings(data: str, lm: str) -> Callable[..., ComparisonSettings]:
    """Makes settings of a comparison of a bandit, which learns from 40 texts, and a script, two seeds each."""

    def make(*agents: str, **changes: Any) -> ComparisonSettings:
        choice = EnvChoice(data=data, prompt_column="doc", reference_column="sum")
        sizes = {"n_envs": 4, "eval_prompts": 3, "curve_prompts": 2, "curve_points": 4, "max_new_tokens": 1, "seeds": 2}
        values = {"model": lm, "reward": f"{OWN}:longest", "budget": "labels=40", "out": "cmp", **sizes, **changes}
        return comparison_settings(choice, agents or (BANDIT, "scripted"), **values)

    return make


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take seconds, and have tests of their own."""
    monkeypatch.setattr(pipeline, "plot_run", lambda *_, **__: None)
    monkeypatch.setattr(LiveCurves, "draw", lambda self: None)
    monkeypatch.setattr(runs, "write_results", lambda run, comparison: None)
