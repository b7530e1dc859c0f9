"""The options of agents, made from the signature and docstring of their constructors, and checked."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from textgym.agents.facts import facts_of
from textgym.checks import LARGEST_COUNT, require_range
from textgym.errors import did_you_mean, suggested
from textgym.naming import argument
from textgym.types import Agent
from textgym.values import is_number

EARLIER_NAMES: Mapping[str, str] = {"epochs": "n_epochs", "whiten_rewards": "scale_rewards"}
"""Present names of options by earlier ones, which stand in runs and checkpoints of earlier versions."""
OptionValue = int | float | str | bool | None
_PLAIN: tuple[type[int | float | str | bool], ...] = (int, float, bool, str)


@dataclass(frozen=True, slots=True)
class Option:
    """An argument of an agent's constructor that can be given as text, as on a command line.

    Attributes:
        name: Name of the constructor's parameter.
        type: ``int``, ``float``, ``str`` or ``bool``.
        default: The constructor's.
        help: Description from the docstring, one paragraph.
        choices: The only values it can have; empty: any.
        optional: Whether it may be ``None``.
    """

    name: str
    type: type[int | float | str | bool]
    default: Any
    help: str
    choices: tuple[int | float | str | bool, ...] = ()
    optional: bool = False


def agent_options(agent: type[Agent]) -> list[Option]:
    """Return the options of an agent: arguments of ``create``, its constructors, and those of its policy.

    Left out are what every agent gets (environment, model, seed, device), arguments whose type no text can have, and
    what its :class:`~textgym.agents.facts.AgentFacts` say is none.

    Args:
        agent: The class.
    """
    facts = facts_of(agent)
    filled = {*inspect.signature(Agent.create).parameters, *facts.not_options}
    policy = [] if facts.policy is None else _constructors(facts.policy)
    found: dict[str, Option] = {}
    sources: list[Callable[..., Any]] = [agent.create, *_constructors(agent), *policy]
    helps: dict[str, str] = {}  # a subclass may say what an argument that it hands on means to it
    for source in sources:
        helps = argument_help(source) | helps
        found |= {option.name: option for option in _options(source, helps) if option.name not in {*filled, *found}}
    return list(found.values())


def present_names(options: Mapping[str, Any], agent: type[Agent]) -> dict[str, Any]:
    """Return options with earlier names replaced, but for those that the agent has itself."""
    known = {option.name for option in agent_options(agent)}
    return {name if name in known else EARLIER_NAMES.get(name, name): value for name, value in options.items()}


def refuse_unknown(options: Mapping[str, object], agent: type[Any]) -> None:
    """Refuse the first option that no constructor of an agent has, with what may have been meant.

    Raises:
        TypeError: There is one.
    """
    known = {name for source in _constructors(agent) for name in inspect.signature(source).parameters}
    name = next((name for name in options if name not in known), None)
    if name is None:
        return
    facts = facts_of(agent)
    of_policy = {option.name for option in agent_options(agent)} - known if facts.policy is not None else set()
    hint = suggested(name, sorted(known)) or f" {agent.__name__}.create has the options of the policy, too."
    if name in of_policy:
        hint = f" It is an option of the policy: give policy_kwargs={{{name!r}: ...}}, or use {agent.__name__}.create."
    raise TypeError(f"{agent.__name__} got an unexpected keyword argument {name!r}.{hint}")


def _constructors(agent: type[Any]) -> Iterator[Callable[..., Any]]:
    """Yield the classes whose constructors a call runs through, up to the first that hands no ``**options`` on."""
    for kind in agent.__mro__:
        if "__init__" in vars(kind):
            yield kind
            parameters = inspect.signature(kind).parameters.values()
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                return


def _options(source: Callable[..., Any], helps: Mapping[str, str]) -> Iterator[Option]:
    """Yield the arguments of a constructor or function that a text can give, with their descriptions by name."""
    function = source.__init__ if inspect.isclass(source) else source
    hints = _hints(function)
    for name, parameter in inspect.signature(source).parameters.items():
        form = _form(hints.get(name, NoneType))
        if form is not None and parameter.default is not parameter.empty and not name.startswith("_"):
            yield Option(name, form[0], parameter.default, helps.get(name, ""), *form[1:])


class _UnknownMeta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, _: object) -> Any:
        return cls


class _Unknown(metaclass=_UnknownMeta):
    """Stands for a type, or its module, that is imported for type checkers only: no text can give a value of it."""


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of arguments, also where they name something that is not imported when programs run."""
    names: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(function, localns=names)
        except NameError as error:
            if not error.name or error.name in names:
                raise
            names[error.name] = _Unknown


def _form(hint: Any) -> tuple[type[int | float | str | bool], tuple[int | float | str | bool, ...], bool] | None:
    """Type, choices and optionality of a type hint; ``None`` where no text can give a value."""
    if get_origin(hint) is Annotated:
        return _form(get_args(hint)[0])
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [part for part in parts if part in _PLAIN or get_origin(part) is Literal]
    if set(kinds) == {int, float}:
        kinds = [float]  # which can have what an int can
    if len(kinds) != 1:
        return None
    choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
    types = {type(choice) for choice in choices} or {kinds[0]}
    kind = next((each for each in _PLAIN if types == {each}), None)
    return None if kind is None else (kind, choices, NoneType in parts)


def argument_help(source: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of arguments in a docstring, each in one paragraph.

    They stand in the ``Args:`` section of Google's style, or in Sphinx's fields ``:param name:``, which
    Stable-Baselines3 uses.
    """
    found = inspect.getdoc(source) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", found, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^ {4}(\w[\w, ]*):[ \n](.*?)(?=^ {4}\w|\Z)", section[1] if section else "", re.M | re.S)
    entries += re.findall(r"^:param (\w+):[ \n]?(.*?)(?=^:|^\s*$|\Z)", found, re.M | re.S)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def checked_options(agent: type[Agent], options: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Return options of an agent as plain values, each of a type that its constructor takes.

    Args:
        agent: The class.
        options: Values by name; those that are missing are left to the constructor.

    Raises:
        TypeError: A value is of another type.
        ValueError: There is no such option, or a number is out of range.
    """
    facts, known = facts_of(agent), {option.name: option for option in agent_options(agent)}
    found: dict[str, OptionValue] = {}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"expected an option of {facts.name}, got {name!r}.{did_you_mean(name, known)}")
        found[name] = value.item() if isinstance(value, np.generic) else value
        _check_option(known[name], found[name], facts.limits.get(name, _range_of(known[name])))
    if facts.check is not None:
        facts.check({name: option.default for name, option in known.items()} | found)
    return found


def _range_of(option: Option) -> tuple[float, float]:
    """The range of a number about which nothing is said: from 0 on, or any where its default is below."""
    default = option.default
    return (-math.inf if is_number(default) and default < 0 else 0.0), math.inf


def _check_option(option: Option, value: object, limits: tuple[float, float]) -> None:
    name = option.name
    if value is None and option.optional:
        return
    if not _fits(option.type, value):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}[option.type]
        raise TypeError(f"expected {words} as {argument(name)}, got {value!r}; give one")
    if option.choices and value not in option.choices:
        raise ValueError(
            f"expected {argument(name)} to be one of {', '.join(map(str, option.choices))}, got {value!r}; choose one"
        )
    if is_number(value):
        least, most = limits
        require_range(name, value, least, min(most, LARGEST_COUNT) if option.type is int else most)


def _fits(kind: type[int | float | str | bool], value: object) -> bool:
    """Return whether an option of a type can have a value; truth values are no numbers, whole numbers are floats."""
    match value:
        case bool():
            return kind is bool
        case int():
            return kind in (int, float)
        case float():
            return kind is float
        case str():
            return kind is str
    return False
