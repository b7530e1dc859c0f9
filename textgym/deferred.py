"""Public names of a package that are loaded at their first use (PEP 562), and hints for names that are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from textgym.errors import WrongNameError, suggested


def deferred(
    package: str, parts: Mapping[str, Sequence[str]], others: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Importing one name then loads what that name needs, not what all names need. A name that is not there is an
    ``AttributeError`` that suggests the most similar one. ``from package import name`` would replace its message, so
    that a public name in other capital letters, or of one of the other packages, is a
    :class:`~textgym.errors.WrongNameError`.

    Args:
        package: ``__name__`` of the package.
        parts: Module, relative to the package -> the public names that it holds.
        others: Packages whose public names are looked for here by mistake. They must be quick to import.
    """
    homes = {name: part for part, names in parts.items() for name in names}

    def get(name: str) -> object:
        if name not in homes:
            raise _no_name(package, name, others)
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *homes})

    return get, names


def _no_name(package: str, name: str, others: Sequence[str]) -> AttributeError | WrongNameError:
    message = f"module {package!r} has no attribute {name!r}"
    if name.startswith("_") or find_spec(f"{package}.{name}") is not None:  # a module is imported by Python itself
        return AttributeError(message)
    for each in (package, *others):
        found = _same(name, import_module(each).__all__)
        if found is not None:
            return WrongNameError(f"cannot import name {name!r} from {package!r}; write: from {each} import {found}")
    return AttributeError(f"{message}.{suggested(name, import_module(package).__all__)}")


def _same(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs by capital letters and underscores at most."""
    return next((each for each in known if _plain(each) == _plain(name)), None)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
