"""Names of arguments in messages: as they are written in Python, or as options are typed in a shell.

A message is made where something is wrong, and says ``argument("prompt_column", "ticket")`` there. Its text is
``prompt_column="ticket"`` in Python, and ``--prompt-column ticket`` within a command that has such an option. Nothing
ever searches a finished message for names: the words of a user's data stay what they are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

_typed: dict[str, str] = {}  # of the command that this process runs; its threads are part of it


class _Missing(Enum):
    """Stands for an argument whose value is not told."""

    VALUE = 0


def argument(name: str, value: object = _Missing.VALUE) -> str:
    """Return what an argument is called in a message, with a value if one is given; ``...`` stands for any value.

    >>> argument("prompt_column"), argument("prompt_column", "ticket")
    ('prompt_column', 'prompt_column="ticket"')
    >>> with options_named({"prompt_column": "--prompt-column"}):
    ...     argument("prompt_column"), argument("prompt_column", "a b")
    ('--prompt-column', "--prompt-column 'a b'")
    """
    option = _typed.get(name)
    if value is _Missing.VALUE:
        return option or name
    if value is ...:
        return option or f"{name}=..."
    if option is None:
        return f"{name}={json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)}"
    if isinstance(value, bool) and option.startswith("--"):
        return option if value else f"no {option}"
    text = shlex.quote(str(value))
    return f"{option} {text}" if option.startswith("-") else text


def arguments(values: Mapping[str, object]) -> str:
    """Return several arguments with their values, as they are written beside each other.

    >>> arguments({"prompt_column": "question", "reference_column": "answer"})
    'prompt_column="question", reference_column="answer"'
    """
    separator = " " if all(name in _typed for name in values) else ", "
    return separator.join(argument(name, value) for name, value in values.items())


@contextmanager
def options_named(options: Mapping[str, str]) -> Iterator[None]:
    """Name arguments within the block as a shell does.

    Args:
        options: Options as they are typed, by the name of the argument; positional ones as in the usage line.
    """
    before = name_options(options)
    try:
        yield
    finally:
        name_options(before)


def name_options(options: Mapping[str, str]) -> dict[str, str]:
    """Name arguments as these options from now on; returns the names of before, to go back to."""
    before = dict(_typed)
    _typed.clear()
    _typed.update(options)
    return before
