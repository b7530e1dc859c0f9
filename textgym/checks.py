"""Checks of numbers that users give: of the right type, in range, and plain enough for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from textgym.naming import argument
from textgym.values import field_values, is_number, is_whole, plain_value

SEEDS = 2**32
"""Seeds are below this: the largest one numpy's global generator takes."""


LARGEST_COUNT = 2**31 - 1
"""No machine makes, or holds, more of anything that is counted; tokens and steps to train on are not limited so."""
_UNLIMITED = ("steps",)
_TINY = 1e-300


def use_plain_values(settings: object) -> None:
    """Replace numpy's numbers and paths in a frozen dataclass by Python's own numbers and texts, which JSON can say."""
    for name, value in field_values(settings).items():
        object.__setattr__(settings, name, plain_value(value))


def check_settings(
    settings: object, *, counts: Sequence[str] = (), positive: Sequence[str] = (), not_negative: Sequence[str] = ()
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
    values = field_values(settings)
    _check_kind(values, (*counts, "seed"), is_whole, "a whole number")
    _check_kind(values, (*positive, *not_negative), is_number, "a number")
    for name in counts:
        _require_range(name, values[name], 1, math.inf if name in _UNLIMITED else LARGEST_COUNT)
    for name in positive:
        _require_range(name, values[name], math.nextafter(0, 1))
    for name in not_negative:
        _require_range(name, values[name], 0)
    _require_range("seed", values["seed"], 0, SEEDS - 1)


def _check_kind(
    values: Mapping[str, object], names: Sequence[str], is_kind: Callable[[object], bool], words: str
) -> None:
    for name in names:
        value = values[name]
        if value is not None and not is_kind(value):
            raise TypeError(f"expected {words} as {argument(name)}, got {value!r}; give one")


def _require_range(name: str, value: object, least: float, most: float = math.inf) -> None:
    """Refuse a number out of range; ``None`` is always fine."""
    if is_number(value):
        require_range(name, value, least, most)


def check_numbers(*, counts: Mapping[str, object], not_negative: Mapping[str, object]) -> None:
    """Check numbers that a function was given by name, as :func:`check_settings` does."""
    _check_kind(counts, list(counts), is_whole, "a whole number")
    _check_kind(not_negative, list(not_negative), is_number, "a number")
    for name, value in counts.items():
        _require_range(name, value, 1, LARGEST_COUNT)
    for name, value in not_negative.items():
        _require_range(name, value, 0)


def require_range(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number that is not finite, or not from ``least`` to ``most``.

    Args:
        name: Name of the value in the message; that of an argument is told as it is typed.
        value: The number.
        least: A tiny one, such as ``math.nextafter(0, 1)``, means: above 0; ``-math.inf``: any finite number.
        most: The largest.

    Raises:
        ValueError: It is out of range.
    """
    if not (value >= least and math.isfinite(value)):
        bound = "above 0" if 0 < least < _TINY else "that is finite" if math.isinf(least) else f"of at least {least:g}"
        raise ValueError(f"expected {argument(name)} {bound}, got {value}; choose another")
    if value > most:
        bound = f"{most:,}" if is_whole(most) else f"{most:g}"
        raise ValueError(f"expected {argument(name)} of at most {bound}, got {value}; lower it")


def check_ranges(
    values: Mapping[str, object],
    limits: Mapping[str, tuple[float, float]],
    *,
    counts: Collection[str] = (),
    may_lack: Collection[str] = (),
) -> None:
    """Check the numbers among values by name.

    Args:
        values: Any values; those without limits are not looked at.
        limits: The least and the largest value.
        counts: Names of whole numbers.
        may_lack: Names of values that may be ``None``.

    Raises:
        TypeError: A value is no number, or not a whole one.
        ValueError: A number is out of range.
    """
    for name, (least, most) in limits.items():
        value, is_count = plain_value(values.get(name)), name in counts
        if name not in values or (value is None and name in may_lack):
            continue
        if not (is_whole(value) if is_count else is_number(value)):
            raise TypeError(f"expected a {'whole ' * is_count}number as {argument(name)}, got {value!r}; give one")
        require_range(name, value, least, most)
