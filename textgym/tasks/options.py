"""The choices that a task offers beside its data: difficulty, direction, form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textgym.errors import did_you_mean, suggested
from textgym.naming import argument

LEVELS = ("medium", "easy", "hard")
"""Levels of difficulty, the default first."""


def checked_choices(options: Mapping[str, Sequence[str]], chosen: Mapping[str, object], task: str) -> dict[str, str]:
    """Return a value for every option: the one that was chosen, or else the first.

    >>> checked_choices({"difficulty": LEVELS, "form": ("story", "poem")}, {"form": "poem"}, "Story")
    {'difficulty': 'medium', 'form': 'poem'}

    Raises:
        TypeError: There is no such option.
        ValueError: The option has no such value.
    """
    for name, value in chosen.items():
        if name not in options:
            has = f"one of {', '.join(options)}" if options else "no options"
            raise TypeError(f"expected {has} of {task}, got {name!r}.{did_you_mean(name, options)}")
        if value not in options[name]:
            raise ValueError(
                f"expected {argument(name)} out of {', '.join(options[name])}, got {value!r}."
                f"{suggested(str(value), options[name])}"
            )
    return {name: str(chosen.get(name, values[0])) for name, values in options.items()}
