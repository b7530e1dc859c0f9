"""Checks of a checkpoint's record, which may be somebody else's: fixed names with types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np

from textgym.errors import CheckpointError
from textgym.values import is_whole

StoredRecord = dict[str, Any]
"""A JSON object of a checkpoint; what its values are, the checks say that :func:`check_fields` makes."""
Check = Callable[[object], bool]
_MOST_CHARS = 10_000


def integer(value: object) -> TypeGuard[int]:
    """A whole number below 2^63."""
    return is_whole(value) and abs(value) < 2**63


def number(value: object) -> bool:
    """A number, and infinity, which is no limit; NaN is none."""
    return measured(value) and value == value


def measured(value: object) -> bool:
    """A number, or NaN, where nothing could be measured."""
    return integer(value) or isinstance(value, float)


def truth(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


def text(value: object) -> bool:
    """A text of a sane length."""
    return isinstance(value, str) and len(value) <= _MOST_CHARS


def positive(value: object) -> bool:
    """A whole number above 0 that can be the size of something."""
    return integer(value) and 0 < value < 2**31


def optional(check: Check) -> Check:
    """Or nothing."""
    return lambda value: value is None or check(value)


def one_of(*texts: str) -> Check:
    """One of these texts."""
    return lambda value: value in texts


def listed(check: Check, count: int | None = None) -> Check:
    """A list of such, or of exactly so many."""
    return lambda value: isinstance(value, list) and count in (None, len(value)) and all(map(check, value))


def mapped(check: Check) -> Check:
    """An object of such, under any names."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def fields(checks: Mapping[str, Check]) -> Check:
    """An object with exactly these names."""
    return lambda value: isinstance(value, dict) and value.keys() == checks.keys() and _all_fit(value, checks)


def either(*checks: Check) -> Check:
    """Return a check that accepts a value if one of several checks does."""
    return lambda value: any(check(value) for check in checks)


def plain(value: object) -> bool:
    """Lists, objects, texts and numbers, nested as they come, with arrays of numbers in the form of :func:`to_json`."""
    match value:
        case dict():
            return (_is_array(value) or value.keys() != _ARRAY) and all(map(plain, value.values()))
        case list():
            return all(map(plain, value))
        case None | str() | int() | float():
            return True
    return False


def check_fields(
    record: Mapping[str, object], checks: Mapping[str, Check], what: str, *, may_lack: bool = False
) -> None:
    """Check a part of a record.

    Args:
        record: The part.
        checks: Check of each name's value.
        what: Name of the part in errors.
        may_lack: Names may be missing.

    Raises:
        CheckpointError: It is no object, a name is unknown or missing, or its value is of another kind.
    """
    if not isinstance(record, Mapping):
        raise CheckpointError(f"expected {what} in a checkpoint, got {type(record).__name__}; use another checkpoint")
    unknown, missing = record.keys() - checks.keys(), set() if may_lack else checks.keys() - record.keys()
    if unknown or missing:
        problem = f"the unknown {min(unknown)!r}" if unknown else f"none called {min(missing)!r}"
        raise CheckpointError(
            f"expected {what} in a checkpoint of this version of textgym, got {problem}; nothing else is taken from one"
        )
    for name, value in record.items():
        if not checks[name](value):
            shown = repr(value)[:60]
            raise CheckpointError(f"expected {what} of the right kinds in a checkpoint, got {name}={shown}")


def to_json(value: object) -> Any:
    """Arrays and numpy scalars as tagged JSON."""
    match value:
        case np.ndarray():
            return {"array": value.tolist(), "dtype": str(value.dtype), "shape": list(value.shape)}
        case np.generic():
            return value.item()
        case dict():
            return {key: to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
    return value


def from_json(value: object) -> Any:
    """The inverse of :func:`to_json`."""
    match value:
        case dict() if value.keys() == _ARRAY:
            return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
        case dict():
            return {key: from_json(item) for key, item in value.items()}
        case list():
            return [from_json(item) for item in value]
    return value


_ARRAY = {"array", "dtype", "shape"}
_DTYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} | {"bool"}


def _is_array(value: Mapping[str, object]) -> bool:
    match value:
        case {"array": array, "dtype": str(dtype), "shape": list(shape), **rest}:
            fits = not rest and dtype in _DTYPES and all(integer(size) and size >= 0 for size in shape)
            return fits and _count(array) == math.prod(shape)
    return False


def _count(array: object) -> int:
    """Return how many numbers a nested list holds; -1 if something else is in it."""
    level: list[Any] = [array]
    while {type(item) for item in level} == {list}:
        level = [child for item in level for child in item]
    return len(level) if {type(item) for item in level} <= {int, float, bool} else -1


def _all_fit(value: Mapping[str, object], checks: Mapping[str, Check]) -> bool:
    return all(checks[name](item) for name, item in value.items())
