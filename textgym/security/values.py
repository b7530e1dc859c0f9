"""JSON that somebody else wrote, as typed values: every reader takes values of one kind, and refuses all others.

What has been read so has a type, and nothing behind it asks for the type again. Truth values are no numbers.
"""

from __future__ import annotations

from typing import Any, TypeGuard


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether it is a whole number; truth values and numbers such as 2.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def integer(value: object) -> int:
    """Return a whole number; anything else is a ``TypeError``."""
    if not is_integer(value):
        raise _no("a whole number", value)
    return value


def number(value: object) -> float:
    """Return a number; anything else is a ``TypeError``, and so is what no float can hold."""
    if not is_integer(value) and not isinstance(value, float):
        raise _no("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _no("a number", value) from None


def truth(value: object) -> bool:
    """Return true or false; anything else is a ``TypeError``."""
    if not isinstance(value, bool):
        raise _no("true or false", value)
    return value


def text(value: object) -> str:
    """Return a text; anything else is a ``TypeError``."""
    if not isinstance(value, str):
        raise _no("a text", value)
    return value


def items(value: object) -> list[Any]:
    """Return a list; anything else is a ``TypeError``."""
    if not isinstance(value, list):
        raise _no("a list", value)
    return value


def members(value: object) -> dict[str, Any]:
    """Return an object; anything else is a ``TypeError``."""
    if not isinstance(value, dict):
        raise _no("a JSON object", value)
    return value


def got(value: object) -> str:
    """Return what an error message says of a value of the wrong kind: a number itself, else its type."""
    return repr(value) if isinstance(value, int | float) else type(value).__name__


def _no(wanted: str, value: object) -> TypeError:
    return TypeError(f"expected {wanted}, got {got(value)}")
