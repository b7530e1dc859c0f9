"""Agents by name, and their options, made from the signature and docstring of their constructor."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stable_baselines3.common.vec_env import VecEnv

from textgym.errors import did_you_mean
from textgym.security.consent import check_names, load_attribute, load_named, names_module

AGENTS: Mapping[str, str] = {
    "ppo": "textgym.agents.ppo:PPO",
    "reinforce": "textgym.agents.reinforce:REINFORCE",
    "sft": "textgym.agents.sft:SFT",
    "random": "textgym.agents.fixed:Random",
    "greedy": "textgym.agents.fixed:Greedy",
    "scripted": "textgym.agents.fixed:Scripted",
    "human": "textgym.agents.fixed:Human",
}
"""The agents of textgym; one line each."""
_METHODS = ("act", "save", "load", "create")
_FILLED = ("env", "model", "seed", "device", "policy", "policy_kwargs")
_PLAIN: Mapping[type, type[int | float | str | bool]] = {each: each for each in (int, float, str, bool)}


@dataclass(frozen=True, slots=True)
class Option:
    """An argument of an agent's constructor that can be given as text, as on a command line.

    Attributes:
        name: As in the constructor.
        type: ``int``, ``float``, ``str`` or ``bool``.
        default: The constructor's.
        help: From the docstring, one paragraph.
        choices: The only values it can have; empty: any.
        optional: Whether it may be ``None``.
    """

    name: str
    type: type[int | float | str | bool]
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    optional: bool = False


def resolve_agent(name: str, *, from_file: bool = False) -> type[Any]:
    """Return the agent class called so.

    Args:
        name: A name of :data:`AGENTS`, or ``"module:Class"``.
        from_file: The name stands in a file. Importing a module runs it, so the user must then have consented, see
            :func:`~textgym.security.consent.names_from`.

    Raises:
        ConsentError: It is ``"module:Class"`` from a file, and the user has not repeated it.
        ValueError: There is no such agent.
        TypeError: The class lacks a method of an agent.
    """
    if name in AGENTS:
        agent = load_attribute(AGENTS[name])
    elif names_module(name):
        if from_file:
            check_names({"agent": name})
        agent = load_named(name, "agent")
    else:
        raise ValueError(
            f"expected one of {', '.join(AGENTS)} or 'module:Class', got agent {name!r}.{did_you_mean(name, AGENTS)}"
        )
    lacking = [method for method in _METHODS if not callable(getattr(agent, method, None))]
    if not inspect.isclass(agent) or lacking:
        what = f"a class without {', '.join(lacking)}" if inspect.isclass(agent) else f"a {type(agent).__name__}"
        raise TypeError(
            f"expected an agent class with {', '.join(_METHODS)} in {name!r}, got {what}; see textgym.types.Agent"
        )
    return agent


def agent_options(agent: type[Any]) -> list[Option]:
    """Return the options of an agent: arguments of ``create``, its constructors, and its policy's if it has one.

    Left out are what every agent gets (environment, model, seed, device), arguments whose type no text can have, and
    the names in the class attribute ``not_options``, if there is one. A class attribute ``policy_class`` names the
    policy whose options go to ``policy_kwargs``.

    Args:
        agent: The class.
    """
    filled = {*_FILLED, *getattr(agent, "not_options", ())}
    policy = getattr(agent, "policy_class", None)
    found: dict[str, Option] = {}
    for source in [agent.create, *_constructors(agent), *([] if policy is None else _constructors(policy))]:
        found |= {option.name: option for option in _options(source) if option.name not in {*filled, *found}}
    return list(found.values())


def _constructors(agent: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes whose constructors a call runs through, up to the first that hands no ``**options`` on."""
    for kind in agent.__mro__:
        if "__init__" in vars(kind):
            yield kind
            parameters = inspect.signature(kind).parameters.values()
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                return


def _options(source: Callable[..., Any]) -> Iterator[Option]:
    """Yield the arguments of a constructor or function that a text can give."""
    function = source.__init__ if inspect.isclass(source) else source
    hints = get_type_hints(function, localns={"VecEnv": VecEnv})  # which Stable-Baselines3's GymEnv has by name only
    helps = argument_help(source)
    for name, parameter in inspect.signature(source).parameters.items():
        form = _form(hints.get(name, NoneType))
        if form is not None and parameter.default is not parameter.empty and not name.startswith("_"):
            yield Option(name, form[0], parameter.default, helps.get(name, ""), *form[1:])


def _form(hint: Any) -> tuple[type[int | float | str | bool], tuple[str, ...], bool] | None:
    """Type, choices and optionality of a type hint; ``None`` where no text can give a value."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for part in parts:
        if get_origin(part) is Literal:
            return str, tuple(map(str, get_args(part))), NoneType in parts
        if part in _PLAIN:
            return _PLAIN[part], (), NoneType in parts
    return None


def argument_help(source: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions in the ``Args:`` section of a Google docstring, by argument, each in one paragraph."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(source) or "", re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^ {4}(\w[\w, ]*):[ \n](.*?)(?=^ {4}\w|\Z)", section[1] if section else "", re.M | re.S)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}
