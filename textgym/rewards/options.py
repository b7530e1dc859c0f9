"""Options of rewards that are named by a text: from a signature, converted by its annotations."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from textgym.errors import did_you_mean
from textgym.naming import argument
from textgym.terms import TAUGHT, Term
from textgym.types import RewardFn, Task

_CALLED_WITH = 3  # prompts, responses, examples
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def with_options(found: Any, term: Term, task: Task | None) -> RewardFn:
    """Return the reward that a class, a function or an object is with the options of a term.

    Args:
        found: A class, whose arguments are its options; a reward function, whose arguments behind prompts, responses
            and examples are; or a reward without any.
        term: How it was named.
        task: The task, for a class that takes one.

    Raises:
        ValueError: It has no such option, or lacks one, or a value is of another kind.
        TypeError: It is no reward.
    """
    if not callable(found):
        raise TypeError(f"expected a callable reward at {term.name!r}, got {type(found).__name__}")
    if not isinstance(found, type):
        return functools.wraps(found)(functools.partial(found, **_converted(found, term))) if term.options else found
    needs_task = "task" in inspect.signature(found).parameters
    if needs_task and task is None:
        raise ValueError(
            f"expected a task for the reward {term.name!r}, which knows what is good, got none; give {term.name!r} to "
            f"an environment as {argument('reward')}, or a task to resolve_reward({term.name!r}, task)"
        )
    options = _converted(found, term)
    made: RewardFn = found(**options, **({"task": task} if needs_task else {}))
    return made


def options_of_reward(found: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the options of a class or function, by name."""
    parameters = list(inspect.signature(found).parameters.values())
    own = parameters if isinstance(found, type) else parameters[_CALLED_WITH:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name: each for each in own if each.kind in named and each.name != "task"}


def _converted(found: Callable[..., Any], term: Term) -> dict[str, object]:
    known = options_of_reward(found)
    for name in term.options:
        if name not in known:
            has = f"one of {', '.join(known)}" if known else "no options"
            raise ValueError(f"expected {has} for the reward {term.name!r}, got {name!r}.{did_you_mean(name, known)}")
    lacking = [each.name for each in known.values() if each.default is each.empty and each.name not in term.options]
    if lacking:
        raise ValueError(
            f"expected {', '.join(f'{name}=...' for name in lacking)} for the reward {term.name!r}, got "
            f"{str(term)!r}; write it as {TAUGHT}"
        )
    return {
        name: _value(value, known[name].annotation, f"{name} of the reward {term.name!r}")
        for name, value in term.options.items()
    }


def _value(text: str, annotation: object, what: str) -> object:
    """Return an option as its annotation has it: a truth value, a whole number, a number, or else a text."""
    written = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = set(re.findall(r"\w+", written))  # read as text, as names in it may be those of type checkers only
    for name, kind, convert in _KINDS:
        if name in kinds:
            try:
                return convert(text)
            except (KeyError, ValueError):
                if "str" in kinds:
                    return text
                raise ValueError(f"expected {kind} as {what}, got {text!r}") from None
    return text


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError(text)
    return number


_KINDS: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("bool", "true or false", lambda text: _BOOLS[text.lower()]),
    ("float", "a number", _number),
    ("int", "a whole number", int),
)
