"""The pages on agents are complete: every number that an agent logs is explained, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from textgym.agents import AGENTS, agent_options, make_vec_env, resolve_agent
from textgym.agents.registry import can_learn, installed_agents
from textgym.envs.acting import grain_of
from textgym.types import Trainable

DOCS = Path(__file__).resolve().parents[1] / "docs"
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "reinforce": {"baseline": "learned"},
    "rloo": {"group_size": 2},
    "grpo": {"group_size": 2, "kl_target": 1.0},
    "sb3_ppo": {"n_epochs": 1, "clip_range_vf": 1.0},
    "maskable_ppo": {"n_epochs": 1, "clip_range_vf": 1.0},
    "trpo": {"cg_max_steps": 1, "line_search_max_iter": 1, "n_critic_updates": 1},
    "sft": {"limit": 2, "batch_size": 2, "log_every": 1},
    **{name: {"labels": 8, "batch_size": 4, "log_every": 1} for name in ("dpo", "ipo", "kto", "orpo", "simpo")},
    "expert_iteration": {"n": 4, "prompts": 2},
    "consensus_ppo": {"agents": 2, "n_steps": 8, "batch_size": 16, "n_epochs": 1, "kl_target": 1.0},
    "decentralized_po": {"n_epochs": 1},
    "dqn": {"train_freq": 8, "learning_starts": 0, "batch_size": 8, "gradient_steps": 1},
    **{name: {"texts": 8, "batch_size": 4, "log_every": 1} for name in ("ilql", "awr")},
}
"""Settings that let an agent log all it can in little time; another one runs with its defaults."""
LEARNING = [name for name in installed_agents() if can_learn(resolve_agent(name))]
OFFLINE = ("sft", "dpo", "ipo", "kto", "orpo", "simpo", "expert_iteration")
SPELLING = [name for name in LEARNING if name not in ("ppo", "reinforce", *OFFLINE)]
"""Agents whose pages show them on the task that takes seconds."""
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout")


def page(agent: str) -> str:
    return (DOCS / f"{agent}.md").read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """The names in the first column of the tables of a page."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_agent_that_learns_has_a_page() -> None:
    assert {"ppo", "reinforce", "sft"} <= set(LEARNING)
    assert [name for name in LEARNING if not (DOCS / f"{name}.md").is_file()] == []
    assert {name for name in AGENTS if f"`{name}`" in page("agents")} == AGENTS.keys()


@pytest.mark.parametrize("name", [*LEARNING, "best_of_n"])
def test_a_page_has_every_section_and_the_command_of_its_results(name: str) -> None:
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page(name), re.DOTALL | re.MULTILINE))
    assert {"The idea", "Usage", "What is logged", "Results", "When to use it"} <= sections.keys()
    assert re.search(rf"^(OMP_NUM_THREADS=1 )?(textgym|pytest) .*{name}", sections["Results"], re.MULTILINE)


@pytest.mark.parametrize("name", LEARNING)
def test_every_logged_number_is_explained(name: str) -> None:
    if grain_of(resolve_agent(name)) == "token":
        env = make_vec_env("TextSumm-v0", n_envs=2, seed=0, reward="rouge", max_new_tokens=8)
    else:
        env = gym.make_vec("TextSummEpisode-v0", num_envs=2, reward="rouge")
    options: dict[str, Any] = SMALL.get(name, {})
    agent = resolve_agent(name).create(env, "tiny", seed=0, device="cpu", **options)
    assert isinstance(agent, Trainable)
    agent.learn(1)
    short = {re.sub(r"^reward/.*", "reward/NAME", key) for key in agent.history[-1]}
    logged = {re.sub(r"^agent\d+/", "agentN/", key) for key in short}
    assert logged <= first_cells(page(name).split("## What is logged")[1])


@pytest.mark.parametrize("unfinished", ["drain", "carry", "carry_recompute"])
def test_numbers_about_unfinished_texts_are_explained(unfinished: str) -> None:
    env = make_vec_env("TextSpell-v0", n_envs=2, seed=0)
    agent = resolve_agent("ppo").create(env, seed=0, device="cpu", unfinished_texts=unfinished, **SMALL["ppo"])
    agent.learn(1)
    expected = {"dropped"} if unfinished == "drain" else {"stale", "stale_age"}
    assert agent.history[-1].keys() & {"dropped", "stale", "stale_age"} == expected
    assert expected <= first_cells(page("ppo").split("## What is logged")[1])
    assert f"`{unfinished}`" in page("ppo")


@pytest.mark.parametrize("name", SPELLING)
def test_the_code_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(re.sub(r"learn\([\d_]+\)", "learn(1)", code), found)
    assert len(found["agent"].history) == 1
    assert (tmp_path / "checkpoint" / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["reinforce", "sft", *SPELLING])
def test_the_table_of_options_states_the_defaults(name: str) -> None:
    text = page(name).split("## Usage")[1].split("## What is logged")[0]
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)}
    options = {option.name: option.default for option in agent_options(resolve_agent(name))}
    assert len(rows) > 2
    assert rows.keys() <= options.keys()
    numbers = {key: float(said) for key, said in rows.items() if re.fullmatch(r"[\d.e-]+", said)}
    assert numbers == {key: options[key] for key in numbers}
