"""Options of rewards that are named by a text: from a signature, converted by its annotations."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

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
    hints = get_type_hints(found.__init__ if isinstance(found, type) else found)
    return {name: _value(value, hints.get(name), f"{name} of {term.name!r}") for name, value in term.options.items()}


def _value(text: str, hint: object, what: str) -> object:
    """Return an option as its annotation has it: a whole number, a number, a truth value, or else a text."""
    kinds = (hint, *get_args(hint))
    try:
        if bool in kinds:
            return _BOOLS[text.lower()]
        if int in kinds and float not in kinds:
            return int(text)
        if float in kinds:
            number = float(text)
            if not math.isnan(number):
                return number
            raise ValueError(text)
    except (KeyError, ValueError) as error:
        if str in kinds:
            return text
        kind = "true or false" if bool in kinds else "a whole number" if float not in kinds else "a number"
        raise ValueError(f"expected {kind} as {what}, got {text!r}") from error
    return text
