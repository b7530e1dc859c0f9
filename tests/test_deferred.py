"""Names of packages: loaded at their first use, and hints for names that are not there."""

from __future__ import annotations

import pytest

import textgym
import textgym.agents
import textgym.rewards


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("from textgym.agents import Reinforce", "from textgym.agents import REINFORCE"),
        ("from textgym.agents import Sft", "from textgym.agents import SFT"),
        ("from textgym.agents import CausalLmPolicy", "from textgym.agents import CausalLMPolicy"),
        ("from textgym.rewards import weighted_sum", "from textgym.rewards import WeightedSum"),
        ("from textgym.rewards import LearnedReward", "from textgym.reward_models import LearnedReward"),
        ("from textgym import PPO", "from textgym.agents import PPO"),
        ("from textgym import resolve_reward", "from textgym.rewards import resolve_reward"),
        ("from textgym import registertask", "from textgym import register_task"),
        ("from textgym.reward_models import loadReward", "from textgym.reward_models import load_reward"),
    ],
)
def test_an_import_of_a_wrong_name_tells_the_right_one(line: str, right: str) -> None:
    with pytest.raises(ImportError, match=f"write: {right}$"):
        exec(line, {})
    exec(right, {})


def test_a_typing_error_in_a_name_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match=r"'textgym.agents' has no attribute 'PPOO'\. Did you mean 'PPO'\?"):
        _ = textgym.agents.PPOO
    with pytest.raises(AttributeError, match=r"Did you mean 'register_task'\?"):
        _ = textgym.regster_task  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'nothing_like_it'"):
        exec("from textgym.rewards import nothing_like_it", {})


def test_names_that_others_ask_modules_for_are_missing_as_usual() -> None:
    for package in (textgym, textgym.agents, textgym.rewards):
        assert not hasattr(package, "__wrapped__")
        assert not hasattr(package, "_private")
    exec("from textgym.agents import sft, ppo", {})
    assert {"PPO", "REINFORCE", "SFT"} <= set(dir(textgym.agents))
