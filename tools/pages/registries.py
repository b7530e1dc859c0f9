"""Pages that list what has a name: rewards, measures and agents, with their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tasks_page  # noqa: F401  # which puts benchmarks on the path

from benchmarks.tasks import built_in_ids
from pages.commands import agent_rows
from pages.markdown import Pages, code, headline, table
from textgym.agents import AGENTS
from textgym.agents.registry import can_learn, installed_agents, resolve_agent
from textgym.envs.choice import EnvChoice
from textgym.metrics.names import LOWER_IS_BETTER
from textgym.metrics.texts import ReferenceMetric
from textgym.rewards.names import NAMED_REWARDS
from textgym.rewards.options import options_of_reward
from textgym.security.consent import load_attribute

_REWARDS = """\
# Rewards by name

What `--reward` and `reward=` take, made from the code. How names are combined, weighted and given options is in
[](../rewards.md), and how a reward model is trained in [](../reward-models.md). The measures of which
[lower is better](metrics.md) can be rewards with a negative weight.
"""
_METRICS = """\
# Measures by name

Made from the code. Every [reward](rewards.md) is a measure too: `--metric chrf`. How they are computed, and what
their intervals promise, is in [](../metrics.md).
"""
_NAMED = 4  # tasks in a cell
_AGENTS = """\
# Options of the agents

Made from the constructors of the agents. They are options of `textgym train --agent NAME`, and arguments of the class
in Python: `--clip-range 0.1` is `clip_range=0.1`. What the agents do is in [](../agents.md).
"""


def registry_pages() -> Pages:
    """Return the pages of rewards, measures and agents."""
    return {"rewards.md": rewards_page(), "metrics.md": metrics_page(), "agents.md": agents_page()}


def rewards_page() -> str:
    """Return the list of rewards by name."""
    return f"{_REWARDS}\n{_named(NAMED_REWARDS)}\n"


def metrics_page() -> str:
    """Return the lists of measures: those with a name, and those of the tasks."""
    lower = f"## Lower is better\n\n{_named(LOWER_IS_BETTER)}"
    rows = [
        [code(name), _headline_of_metric(name, metric), _tasks(ids)]
        for name, (metric, ids) in sorted(task_metrics().items())
    ]
    own = "## Measures of the tasks\n\n`textgym evaluate` shows them without being asked.\n\n"
    return f"{_METRICS}\n{lower}\n\n{own}{table(['name', 'what it is', 'tasks'], rows)}\n"


def agents_page() -> str:
    """Return the options of all agents that are installed, and how to install the others."""
    parts = [_AGENTS]
    for name in AGENTS:
        parts.append(f"## {name}")
        if name not in installed_agents():
            parts.append(f"`{AGENTS[name]}`. Its options are shown where the extra that it needs is installed.")
            continue
        agent = resolve_agent(name)
        rows = agent_rows(name)
        page = f" Explained in [](../{name}.md)." if can_learn(agent) or name == "best_of_n" else ""
        parts.append(f"{headline(agent)}. The class is {{py:class}}`~{agent.__module__}.{agent.__qualname__}`.{page}")
        parts.append(table(["option", "meaning"], rows) if rows else "It has no options.")
    return "\n\n".join(parts) + "\n"


def task_metrics() -> Mapping[str, tuple[Any, Sequence[str]]]:
    """Return every measure of a task by name, with the ids of the tasks that have it, at the token level."""
    found = dict[str, tuple[Any, list[str]]]()
    for env_id in built_in_ids():
        for name, metric in EnvChoice(env_id).make("test").metrics.items():
            found.setdefault(name, (metric, []))[1].append(env_id)
    return found


def _named(names: Mapping[str, str]) -> str:
    found = {name: load_attribute(place) for name, place in names.items()}
    rows = [[code(name), headline(thing), _options(thing), _where(names[name])] for name, thing in found.items()]
    return table(["name", "what it computes", "options (defaults)", "in Python"], rows)


def _options(thing: Callable[..., Any]) -> str:
    options = options_of_reward(thing).values()
    return ", ".join(
        code(each.name) + ("" if each.default is inspect.Parameter.empty else f" ({each.default!r})")
        for each in options
    )


def _where(place: str) -> str:
    return f"{{py:obj}}`~{place.replace(':', '.')}`"


def _headline_of_metric(name: str, metric: Any) -> str:
    return headline(metric.reward if isinstance(metric, ReferenceMetric) else metric) or name.replace("_", " ")


def _tasks(ids: Sequence[str]) -> str:
    links = [f"[{env_id}](environments/{env_id}.md)" for env_id in ids[:_NAMED]]
    return ", ".join(links) if len(ids) <= _NAMED else f"{len(ids)} tasks"
