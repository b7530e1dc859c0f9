"""Checks of numbers that users give: of the right type, in range, and plain enough for JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np

SEEDS = 2**32
"""Seeds are below this: the largest one numpy's global generator takes."""


LARGEST_COUNT = 2**31 - 1
"""No machine makes, or holds, more of anything that is counted; tokens and steps to train on are not limited so."""
_UNLIMITED = ("steps",)


def use_plain_values(settings: Any) -> None:
    """Replace numpy's numbers and paths in a frozen dataclass by Python's own numbers and texts, which JSON can say."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(settings, field.name, value.item())
        elif isinstance(value, os.PathLike):
            object.__setattr__(settings, field.name, os.fspath(value))


def check_settings(
    settings: Any, *, counts: Sequence[str] = (), positive: Sequence[str] = (), not_negative: Sequence[str] = ()
) -> None:
    """Make the values of a command's settings plain, and check its numbers; ``None`` is always fine.

    Args:
        settings: A frozen dataclass with a ``seed``.
        counts: Fields that are whole numbers of at least 1, and of sizes that exist.
        positive: Fields that are finite numbers above 0.
        not_negative: Fields that are finite numbers of at least 0.

    Raises:
        TypeError: A field is no number, or not a whole one.
        ValueError: A number is out of range.
    """
    use_plain_values(settings)
    for name in (*counts, "seed"):
        _check_type(settings, name, int, "a whole number")
    for name in (*positive, *not_negative):
        _check_type(settings, name, int | float, "a number")
    _check_range(settings, counts, 1, "of at least 1")
    limited = [name for name in counts if name not in _UNLIMITED]
    _check_range(settings, limited, 1, f"of at most {LARGEST_COUNT:,}", LARGEST_COUNT + 1)
    _check_range(settings, positive, math.nextafter(0, 1), "above 0")
    _check_range(settings, not_negative, 0, "of at least 0")
    _check_range(settings, ["seed"], 0, f"from 0 to {SEEDS - 1}", SEEDS)


def _check_type(settings: Any, name: str, kind: Any, words: str) -> None:
    value = getattr(settings, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise TypeError(f"expected {words} as {name}, got {value!r}; give one")


def _check_range(settings: Any, names: Sequence[str], least: float, words: str, end: float = math.inf) -> None:
    """Refuse what is not in ``[least, end)``; NaN is in no range."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not least <= value < end:
            raise ValueError(f"expected {name} {words}, got {value}; choose another")


def check_numbers(*, counts: Mapping[str, object], not_negative: Mapping[str, object]) -> None:
    """Check numbers that a function was given by name, as :func:`check_settings` does."""
    values = SimpleNamespace(**counts, **not_negative)
    for name in counts:
        _check_type(values, name, int, "a whole number")
    for name in not_negative:
        _check_type(values, name, int | float, "a number")
    _check_range(values, list(counts), 1, "of at least 1")
    _check_range(values, list(counts), 1, f"of at most {LARGEST_COUNT:,}", LARGEST_COUNT + 1)
    _check_range(values, list(not_negative), 0, "of at least 0")
