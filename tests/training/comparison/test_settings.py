"""What is typed about the agents of a comparison, and the settings of each run that come of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from textgym.agents.options import Option
from textgym.envs.choice import EnvChoice
from textgym.errors import ConsentError
from textgym.naming import options_named
from textgym.security.consent import names_from
from textgym.training.comparison import ComparisonSettings, comparison_settings
from textgym.training.comparison.settings import value_of_text

SPELL = EnvChoice("TextSpell-v0")
OWN = "tests.training.test_any_agent:TextBandit"


def test_agents_and_options_as_they_are_typed() -> None:
    made = comparison_settings(
        SPELL, ["ppo, far=ppo", OWN], ["far:kl-coef=0", "far:kl_target=none", "ppo:lr=1e-3", "ppo:epochs=2"], seeds=3
    )
    assert made.agents == {"ppo": "ppo", "far": "ppo", "TextBandit": OWN}
    assert made.options == {
        "far": {"kl_coef": 0.0, "kl_target": None},
        "ppo": {"learning_rate": 1e-3, "n_epochs": 2},
    }
    assert (made.model, list(made.all_seeds)) == ("letters", [0, 1, 2])


@pytest.mark.parametrize(
    ("agents", "option", "error"),
    [
        ([], [], "expected at least one agent in agents, got none"),
        (["ppo,ppo"], [], "got 'ppo' twice; name one otherwise: other=ppo"),
        (["a/b=ppo"], [], "expected a label of letters, digits, dots, - and _ .* got 'a/b'; write LABEL=AGENT"),
        (["ppo"], ["lr=1"], "expected AGENT:NAME=VALUE as option, got 'lr=1'"),
        (["ppo"], ["reinforce:lr=1"], "expected an option of one of ppo, got 'reinforce:lr=1'"),
        (["ppo"], ["ppo:kl_coeff=1"], "expected an option of ppo, got 'kl_coeff'. Did you mean 'kl_coef'[?]"),
        (["ppo"], ["ppo:n_steps=many"], "expected a whole number as n_steps, got 'many'; give one"),
    ],
)
def test_mistakes_are_named(agents: list[str], option: list[str], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        comparison_settings(SPELL, agents, option)


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (Option("a", float, 0.0, ""), "1e-3", 1e-3),
        (Option("a", int, None, "", optional=True), "None", None),
        (Option("a", bool, False, ""), "true", True),
        (Option("a", bool, True, ""), "0", False),
        (Option("a", str, "", ""), "none", "none"),
    ],
)
def test_values_have_the_type_of_the_option(option: Option, text: str, value: object) -> None:
    found = value_of_text(option, text)
    assert (found, type(found)) == (value, type(value))


def test_every_run_has_the_same_settings_but_for_agent_and_seed() -> None:
    made = comparison_settings(SPELL, ["ppo,sft"], ["ppo:lr=0.01"], eval_prompts=7, budget="labels=12", n_envs=4)
    ppo, sft = (made.of_run(label, 3, Path("x"), steps=40) for label in ("ppo", "sft"))
    assert (ppo.agent, ppo.options, ppo.seed, ppo.steps) == ("ppo", {"learning_rate": 0.01}, 3, 40)
    assert (ppo.split, ppo.eval_prompts, ppo.n_envs) == (sft.split, sft.eval_prompts, sft.n_envs) == ("test", 7, 4)
    assert sft.options == {"limit": 12}  # an offline agent learns from as many texts
    assert made.of_run("sft", 3, Path("x"), steps=40, limit=2).options == {"limit": 2}


@pytest.mark.parametrize(
    ("agent", "option", "changes", "error"),
    [
        ("dpo", "labels=10", {"budget": "labels=20"}, 'option dpo:labels=10 or budget="labels=20", which sets it'),
        ("awr", "texts=10", {"budget": "labels=20"}, 'option awr:texts=10 or budget="labels=20", which sets it'),
        ("sft", "limit=30", {"budget": "labels=20"}, 'option sft:limit=30 or budget="labels=20", which sets it'),
        (
            "best_of_n",
            "max-new-tokens=5",
            {"max_new_tokens": 9},
            "option best_of_n:max-new-tokens=5 or max_new_tokens=9, which sets it",
        ),
    ],
)
def test_an_option_is_not_overridden_in_silence(agent: str, option: str, changes: Any, error: str) -> None:
    made = comparison_settings(SPELL, [agent], [f"{agent}:{option}"], **changes)
    with pytest.raises(ValueError, match=f"expected {error} for all agents, got both; leave one of them out"):
        made.of_run(agent, 0, Path("x"))
    name, _, value = option.replace("-", "_").partition("=")
    other = comparison_settings(SPELL, [agent], [f"{agent}:{option}"], budget="tokens=20")
    assert other.of_run(agent, 0, Path("x")).options[name] == int(value)


def test_settings_go_through_json_and_name_modules_only_with_consent() -> None:
    made = comparison_settings(SPELL, ["ppo", OWN], ["ppo:lr=0.01"])
    stored = json.loads(json.dumps(asdict(made)))
    with pytest.raises(ConsentError):
        ComparisonSettings.from_json(stored)
    with names_from("x", "textgym compare", [OWN]):
        assert ComparisonSettings.from_json(stored) == made


def test_in_a_command_options_are_named_as_typed() -> None:
    with options_named({"budget": "--budget"}), pytest.raises(ValueError, match="as --budget, got 'x'"):
        comparison_settings(SPELL, ["ppo"], budget="x")
