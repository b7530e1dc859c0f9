"""Settings of a command as they are stored with its run: absolute paths, and JSON that is checked when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError
from textgym.files.paths import absolute_if_exists, user_path
from textgym.hub import SHIPPED
from textgym.models.stored_values import mapped
from textgym.rewards import NAMED_REWARDS
from textgym.security.consent import check_names
from textgym.terms import join_terms, parse_terms

_Settings = TypeVar("_Settings")


def stable_name(model: str) -> str:
    """Return the name of a model in a form that still finds it from another working directory."""
    return absolute_if_exists(model) if model not in SHIPPED and user_path(model).is_dir() else model


def located(settings: _Settings) -> _Settings:
    """Return a command's settings with absolute paths: data, models, rewards, comparisons and the folder of the run.

    They are stored with a run, which may be resumed or looked at from another working directory.
    """
    given = asdict(settings)  # type: ignore[call-overload]  # a dataclass
    changes = {name: _located(name, value) for name, value in given.items() if name in _LOCATE}
    if "options" in given:
        changes["options"] = {name: _located(name, value) for name, value in given["options"].items()}
    return replace(settings, choice=settings.choice.located(), **changes)  # type: ignore[type-var, attr-defined]


def _located(name: str, value: object) -> object:
    return _LOCATE[name](value) if name in _LOCATE and isinstance(value, str) else value


def settings_from_json(kind: Callable[..., _Settings], record: object) -> _Settings:
    """Read what ``dataclasses.asdict`` wrote of a command's settings; fields unknown by now are skipped.

    Raises:
        CheckpointError: It is something else.
        ConsentError: A field names a module. Within :func:`~textgym.security.consent.names_from` the user may have
            consented.
    """
    values = _values(kind, record)
    choice = _values(EnvChoice, values.get("choice"))
    check_names({**values, "choice": choice})
    return kind(**{**values, "choice": EnvChoice(**choice)})


def _values(kind: Callable[..., Any], record: object) -> dict[str, Any]:
    """Return what a record says about the fields of a dataclass, each of a kind that the field may have."""
    match record:
        case {**stored}:
            hints = get_type_hints(kind)
        case _:
            raise CheckpointError(f"expected the settings of a run, got {type(record).__name__}; is the folder a run?")
    values = {str(name): value for name, value in stored.items() if name in hints}
    for name, value in values.items():
        if name != "choice" and not _may_be(value, hints[name]):
            raise CheckpointError(f"expected another kind of {name} in the settings of a run, got {value!r}")
    return values


def _may_be(value: object, hint: object) -> bool:
    """Say whether a value from JSON can be that of a field with a type hint."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is Mapping:
        kind = get_args(hint)[1]
        return mapped(lambda each: _may_be(each, kind))(value)
    if get_args(hint):
        return any(_may_be(value, each) for each in get_args(hint))
    return type(value) in ((int, float) if hint is float else (hint,))  # what JSON says is of no subclass


def _stable_reward(reward: str) -> str:
    if reward not in NAMED_REWARDS and user_path(reward).exists():
        return stable_name(reward)
    return join_terms([replace(term, name=_stable_term(term.name)) for term in parse_terms(reward)])


def _stable_term(name: str) -> str:
    return name if name in NAMED_REWARDS else stable_name(name)


def _absolute_target(name: str) -> str:
    """Return the absolute path of a folder that need not exist yet."""
    return str(user_path(name).absolute())


_LOCATE: Mapping[str, Callable[[str], str]] = {
    "out": _absolute_target,
    "model": stable_name,
    "reference_model": stable_name,
    "reward": _stable_reward,
    "annotator": _stable_reward,
    "embeddings": stable_name,
    "feedback": absolute_if_exists,
    "log": absolute_if_exists,
}
