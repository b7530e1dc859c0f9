"""Agents by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import cast

from textgym.envs.acting import grain_of
from textgym.errors import MissingExtraError, suggested
from textgym.naming import argument
from textgym.security.consent import check_names, load_attribute, load_named, names_module
from textgym.security.missing import as_module
from textgym.types import Agent
from textgym.values import attribute_of

AGENTS: Mapping[str, str] = {
    "ppo": "textgym.agents.ppo:PPO",
    "reinforce": "textgym.agents.reinforce:REINFORCE",
    "reinforce_pp": "textgym.agents.reinforce_pp:REINFORCEPlusPlus",
    "rloo": "textgym.agents.rloo:RLOO",
    "grpo": "textgym.agents.grpo:GRPO",
    "sb3_ppo": "textgym.agents.sb3_ppo:SB3PPO",
    "a2c": "textgym.agents.a2c:A2C",
    "maskable_ppo": "textgym.agents.maskable_ppo:MaskablePPO",
    "trpo": "textgym.agents.trpo:TRPO",
    "dqn": "textgym.agents.dqn:DQN",
    "q_learning": "textgym.agents.q_learning:QLearning",
    "sarsa": "textgym.agents.sarsa:SARSA",
    "sft": "textgym.agents.sft:SFT",
    "dpo": "textgym.agents.dpo:DPO",
    "ipo": "textgym.agents.ipo:IPO",
    "kto": "textgym.agents.kto:KTO",
    "orpo": "textgym.agents.orpo:ORPO",
    "simpo": "textgym.agents.simpo:SimPO",
    "ilql": "textgym.agents.ilql:ILQL",
    "awr": "textgym.agents.awr:AWR",
    "expert_iteration": "textgym.agents.expert_iteration:ExpertIteration",
    "best_of_n": "textgym.agents.best_of_n:BestOfN",
    "consensus_ppo": "textgym.agents.consensus_ppo:ConsensusPPO",
    "decentralized_po": "textgym.agents.decentralized_po:DecentralizedPO",
    "random": "textgym.agents.fixed:Random",
    "greedy": "textgym.agents.fixed:Greedy",
    "scripted": "textgym.agents.fixed:Scripted",
    "human": "textgym.agents.fixed:Human",
}
"""The agents of textgym; one line each."""
_METHODS = ("act", "save", "load", "create")
_TO_LEARN = ("learn", "get_state", "set_state")


def resolve_agent(name: str, *, from_file: bool = False) -> type[Agent]:
    """Return the agent class called so.

    Args:
        name: A name of :data:`AGENTS`, or ``"module:Class"``.
        from_file: The name stands in a file. Importing a module runs it, so the user must then have consented, see
            :func:`~textgym.security.consent.names_from`.

    Raises:
        ConsentError: It is ``"module:Class"`` from a file, and the user has not repeated it.
        ValueError: There is no such agent.
        TypeError: The class lacks a method of an agent.
        AgentError: It has no grain, or one that does not exist.
    """
    if name in AGENTS:
        agent = load_attribute(AGENTS[name])
    elif names_module(name):
        if from_file:
            check_names({"agent": name})
        agent = load_named(name, "agent")
    else:
        raise ValueError(
            f"expected one of {', '.join(AGENTS)} or 'module:Class' as {argument('agent')}, got agent {name!r}."
            f"{suggested(name, AGENTS) or as_module(name)}"
        )
    if not inspect.isclass(agent):
        raise TypeError(f"expected an agent class in {name!r}, got a {type(agent).__name__}; see textgym.types.Agent")
    wanted = (*_METHODS, *(_TO_LEARN if _has(agent, "learn") else ()))
    lacking = [method for method in wanted if not _has(agent, method)]
    if lacking:
        raise TypeError(
            f"expected an agent class with {', '.join(wanted)} in {name!r}, got a class without {', '.join(lacking)}; "
            f"see textgym.types.{'Trainable' if len(wanted) > len(_METHODS) else 'Agent'}"
        )
    found = cast("type[Agent]", agent)
    grain_of(found)
    return found


def installed_agents() -> list[str]:
    """Return the names of :data:`AGENTS` but for those that need an optional package that is not installed."""
    return [name for name in AGENTS if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        resolve_agent(name)
    except MissingExtraError:
        return False
    return True


def can_learn(agent: type[Agent]) -> bool:
    """Say whether agents of a class learn; the others are only evaluated."""
    return _has(agent, "learn")


def _has(agent: type[object], method: str) -> bool:
    return callable(attribute_of(agent, method))
