"""Plain values as JSON: all that crosses the border of a sandbox.

A value of a guest is taken apart where it was made, and only its data travel. So a comparison outside never runs a
method of a guest's class, and never hashes what a guest chose. Every guest imports this file again, so it imports
next to nothing.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False  # as typing has it, which takes a while to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Encoded = Any
else:
    Encoded = object
"""A JSON value made by :func:`encode`: ``{"tuple": [...]}`` and the like where JSON has no word for a type."""
MAX_DEPTH = 64
MAX_ITEMS = 200_000
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12  # tolerance of numbers of JSON tests
_SAFE_BITS = 53  # of whole numbers that JSON writes as they are


class NotPlainError(ValueError):
    """A value is no plain data, or too large."""


def encode(value: object) -> Encoded:
    """Return a plain value as JSON; of subclasses of the built-in types, the data alone.

    Raises:
        NotPlainError: It holds an object of another class, or more than :data:`MAX_ITEMS` items, or is nested deeper
            than :data:`MAX_DEPTH`.
    """
    return _Encoder().encode(value, 0)


class _Encoder:
    """One value on its way out."""

    def __init__(self) -> None:
        self._items = 0

    def encode(self, value: object, depth: int) -> Encoded:
        """Return one part of the value."""
        self._items += 1
        if self._items > MAX_ITEMS or depth > MAX_DEPTH:
            raise NotPlainError(f"a value of more than {MAX_ITEMS:,} items, or nested deeper than {MAX_DEPTH}")
        if value is None or value is True or value is False:
            return value
        return (
            self._scalar(value) if isinstance(value, int | float | complex | str | bytes) else self._many(value, depth)
        )

    def _scalar(self, value: int | float | complex | str | bytes) -> Encoded:
        match value:
            case str():
                return str.__str__(value)
            case bytes():
                return {"bytes": bytes.hex(value)}
            case int():
                whole = int.__add__(value, 0)
                return whole if whole.bit_length() <= _SAFE_BITS else {"int": hex(whole)}
            case float():
                number = float.__add__(value, 0.0)
                return number if math.isfinite(number) else {"float": repr(number)}
        return {"complex": [repr(value.real), repr(value.imag)]}

    def _many(self, value: object, depth: int) -> Encoded:
        match value:
            case list():
                return self._items_of(list.__iter__(value), depth)
            case tuple():
                return {"tuple": self._items_of(tuple.__iter__(value), depth)}
            case set():
                return {"set": self._items_of(set.__iter__(value), depth)}
            case frozenset():
                return {"frozenset": self._items_of(frozenset.__iter__(value), depth)}
            case dict():
                return {"dict": [self._items_of(pair, depth) for pair in dict.items(value)]}
        raise NotPlainError(f"an object of class {type(value).__name__}")

    def _items_of(self, values: Iterable[object], depth: int) -> list[Encoded]:
        return [self.encode(each, depth + 1) for each in values]


_MAKERS: dict[str, Callable[[Any], object]] = {
    "bytes": bytes.fromhex,
    "int": lambda text: int(text, 16),
    "float": float,
    "complex": lambda parts: complex(float(parts[0]), float(parts[1])),
    "tuple": lambda items: tuple(map(decode, items)),
    "set": lambda items: set(map(decode, items)),
    "frozenset": lambda items: frozenset(map(decode, items)),
    "dict": lambda pairs: {decode(key): decode(value) for key, value in pairs},
}


def decode(encoded: Encoded) -> object:
    """Return the value that was encoded."""
    match encoded:
        case list():
            return [decode(each) for each in encoded]
        case dict():
            ((kind, content),) = encoded.items()
            return _MAKERS[kind](content)
    return encoded


def equal(first: Encoded, second: Encoded, *, exact: bool) -> bool:
    """Return whether two encoded values are equal.

    Args:
        first: One value.
        second: The other.
        exact: As Python's ``==`` (a tuple is no list, ``1 == 1.0 == True``). Otherwise as values of JSON: tuples are
            lists, true is no number, and numbers may differ by rounding (1e-9 of their size).
    """
    number, other = _number(first), _number(second)
    if number is not None and other is not None:
        return number == other if exact else _about_equal(number, other)
    (kind, content), (kind_of_other, others) = _kind(first, exact), _kind(second, exact)
    if kind != kind_of_other or kind not in ("list", "tuple", "set", "dict"):
        return bool(kind == kind_of_other and content == others)
    if kind in ("set", "dict"):
        content, others = sorted(content, key=_canonical), sorted(others, key=_canonical)
    return len(content) == len(others) and all(equal(a, b, exact=exact) for a, b in zip(content, others, strict=True))


def checked(encoded: Encoded) -> Encoded:
    """Return what claims to be an encoded value, if it is one.

    Raises:
        NotPlainError: It is none, or too large.
    """
    _Checker().check(encoded, 0)
    return encoded


class _Checker:
    """One claim, with its parts counted."""

    def __init__(self) -> None:
        self._items = 0

    def check(self, encoded: Encoded, depth: int) -> None:
        """Check one part."""
        self._items += 1
        if self._items > MAX_ITEMS or depth > 2 * MAX_DEPTH:
            raise NotPlainError("a value that is too large")
        match encoded:
            case None | bool() | int() | str():
                return
            case float() if math.isfinite(encoded):
                return
            case list():
                for each in encoded:
                    self.check(each, depth + 1)
            case dict() if len(encoded) == 1:
                ((kind, content),) = encoded.items()
                self._check_kind(kind, content, depth)
            case _:
                raise NotPlainError("something that is no value")

    def _check_kind(self, kind: str, content: Encoded, depth: int) -> None:
        if kind in ("tuple", "set", "frozenset") and isinstance(content, list):
            self.check(content, depth + 1)
        elif kind == "dict" and isinstance(content, list):
            for pair in content:
                self._check_pair(pair, depth + 1)
        elif kind in ("bytes", "int", "float", "complex"):
            _decode_or_raise({kind: content})
        else:
            raise NotPlainError("something that is no value")

    def _check_pair(self, pair: Encoded, depth: int) -> None:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise NotPlainError("a dict whose items are no pairs")
        for each in pair:
            self.check(each, depth)


def _decode_or_raise(encoded: Encoded) -> None:
    try:
        decode(encoded)
    except (TypeError, ValueError, IndexError) as error:
        raise NotPlainError(f"a value that cannot be read: {error}") from error


def _number(encoded: Encoded) -> int | float | None:
    """Return the number that is encoded, however large; ``None`` if it is none."""
    match encoded:
        case bool() | int() | float():
            return encoded
        case {"int": text}:
            return int(text, 16)
        case {"float": text}:
            return float(text)
    return None


def _kind(encoded: Encoded, exact: bool) -> tuple[str, Any]:
    """Return the type of what is no number, where tuples may pass for lists, and its content."""
    match encoded:
        case list():
            return "list", encoded
        case {"frozenset": content}:
            return "set", content
        case {"tuple": content} if not exact:
            return "list", content
        case dict():
            ((kind, content),) = encoded.items()
            return kind, content
    return type(encoded).__name__, encoded


def _about_equal(first: float, second: float) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    try:
        return first == second or math.isclose(first, second, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    except OverflowError:  # a whole number beyond all floats
        return False


def _canonical(encoded: Encoded) -> str:
    """Return a text that equal values share, to sort by."""
    match encoded:
        case list():
            return f"[{','.join(map(_canonical, encoded))}]"
        case dict():
            ((kind, content),) = encoded.items()
            inner = sorted(map(_canonical, content)) if kind in ("set", "frozenset", "dict") else [_canonical(content)]
            return f"{'set' if kind == 'frozenset' else kind}({','.join(inner)})"
        case bool() | int() | float():
            return repr(float(encoded)) if float(encoded).is_integer() else repr(encoded)
    return repr(encoded)
