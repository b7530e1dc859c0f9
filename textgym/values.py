"""Values whose type nobody has declared, out of JSON, YAML or another library: what they are is asked here, once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number of Python's own; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number of Python's own, NaN and infinity included; truth values are none."""
    return isinstance(value, float) or is_whole(value)


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
