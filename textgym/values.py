"""Values whose type nobody has declared, out of JSON, YAML or another library: what they are is asked here, once.

``as_*`` take anything; ``expect_*`` take values of one kind, and refuse all others. What has been read so has a type,
and nothing behind it asks for the type again. Truth values are no numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeGuard, TypeVar

import numpy as np

_Kind = TypeVar("_Kind")
_TOO_LARGE = 1e300


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number of Python's own; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number of Python's own, NaN and infinity included; truth values are none."""
    return isinstance(value, float) or is_whole(value)


def finite(value: object) -> float | None:
    """Return a number as a float; ``None`` if it is none, or NaN, or so large that sums and plots of it overflow.

    >>> finite(2), finite("2"), finite(float("nan")), finite(10**400)
    (2.0, None, None, None)
    """
    return float(value) if is_number(value) and abs(value) < _TOO_LARGE else None


def finite_ones(record: Mapping[str, object]) -> dict[str, float]:
    """Return those values of a record that are finite numbers."""
    return {name: number for name, value in record.items() if (number := finite(value)) is not None}


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a JSON list, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return a text, and an empty one for anything else."""
    return value if isinstance(value, str) else ""


def walk(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all that is nested in lists and objects, the outer before the inner, with the name it stands under.

    What stands in a list has the list's name, and the outermost value the one that was given.

    >>> list(walk({"sizes": [1, {"depth": 2}]}))[2:]
    [('sizes', 1), ('sizes', {'depth': 2}), ('depth', 2)]
    """
    yield name, value
    match value:
        case Mapping():
            for key, item in value.items():
                yield from walk(item, str(key))
        case list() | tuple():
            for item in value:
                yield from walk(item, name)


def plain_value(value: object) -> Any:
    """Return what JSON can say of numpy's scalars and of paths; anything else as it is."""
    match value:
        case np.generic():
            return value.item()
        case os.PathLike():
            return os.fspath(value)
    return value


def attribute_of(owner: object, *names: str) -> Any:
    """Return the first of these attributes that an object of another library has, unless it is ``None``.

    Releases rename attributes, and few configurations have all of them; ``None`` if there is none.
    """
    return next((found for name in names if (found := getattr(owner, name, None)) is not None), None)


def field_values(record: Any) -> dict[str, object]:
    """Return the fields of a dataclass by name; records within stay what they are, unlike in ``dataclasses.asdict``."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def expect_integer(value: object) -> int:
    """Return a whole number; anything else is a ``TypeError``."""
    if not is_whole(value):
        raise _no("a whole number", value)
    return value


def expect_number(value: object) -> float:
    """Return a number; anything else is a ``TypeError``, and so is what no float can hold."""
    if not is_number(value):
        raise _no("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _no("a number", value) from None


def expect_boolean(value: object) -> bool:
    """Return true or false; anything else is a ``TypeError``."""
    return _of_kind(bool, "true or false", value)


def expect_text(value: object) -> str:
    """Return a text; anything else is a ``TypeError``."""
    return _of_kind(str, "a text", value)


def expect_list(value: object) -> list[Any]:
    """Return a list; anything else is a ``TypeError``."""
    return _of_kind(list, "a list", value)


def expect_object(value: object) -> dict[str, Any]:
    """Return an object; anything else is a ``TypeError``."""
    return _of_kind(dict, "a JSON object", value)


def got(value: object) -> str:
    """Return what an error message says of a value of the wrong kind: a number itself, else its type."""
    return repr(value) if isinstance(value, int | float) else type(value).__name__


def _of_kind(kind: type[_Kind], wanted: str, value: object) -> _Kind:
    if not isinstance(value, kind):
        raise _no(wanted, value)
    return value


def _no(wanted: str, value: object) -> TypeError:
    return TypeError(f"expected {wanted}, got {got(value)}")
