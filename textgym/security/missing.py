"""Errors for names ``"module:attribute"`` that lead nowhere: what there is instead, and the most similar name."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from textgym.errors import suggested
from textgym.values import attribute_of

_FILE = re.compile(r"(?:.*[/\\])?(?P<module>\w+)\.py:(?P<attribute>\w+)")
_SHOWN = 20


def no_attribute(path: str, module: ModuleType, attribute: str) -> ValueError:
    """Return the error for an attribute that a module does not have.

    Args:
        path: The whole name.
        module: The module, which was imported.
        attribute: The name that is not there.
    """
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and attribute_of(value, "__module__") == module.__name__
    ]
    public = attribute_of(module, "__all__")
    known = sorted(public or own or [name for name in dir(module) if not name.startswith("_")])
    return ValueError(
        f"expected 'module:attribute' with a name that {_place(module)} defines, got {path!r}."
        f"{suggested(attribute, known)} It defines: {_listed(known)}."
    )


def no_module(module: str, missing: str, folders: Sequence[str]) -> str:
    """Return a sentence about a module that cannot be found, for the end of a message.

    Args:
        module: Full name of the module.
        missing: Its part that was not found: a package that it is in, or itself.
        folders: Where modules of the user are.
    """
    parent, _, name = missing.rpartition(".")
    package = attribute_of(sys.modules.get(parent), "__path__") if parent else None
    if package is not None:
        known, place = _modules_in([str(folder) for folder in package]), f"the package {parent}"
    else:
        name, parent = missing, ""
        known, place = _modules_in(folders), f"the folder {' or '.join(folders)}"
    there = f"there is no module {module!r}"
    if found := suggested(name, known):
        return f"{there}.{found}"
    if known:
        return f"{there}. Modules in {place}: {_listed(known)}."
    return f"{there}. {place[0].upper()}{place[1:]} has no modules; name a file there without .py, or a package."


def as_module(name: str) -> str:
    """Return a hint where a name has the form ``folder/file.py:attribute``; nothing otherwise.

    >>> as_module("./mine/rewards.py:polite"), as_module("rewards:polite")
    (" A function of a file is named 'rewards:polite', in the folder of the file.", '')
    """
    found = _FILE.fullmatch(name)
    if found is None:
        return ""
    return f" A function of a file is named '{found['module']}:{found['attribute']}', in the folder of the file."


def _place(module: ModuleType) -> str:
    file = attribute_of(module, "__file__")
    if not isinstance(file, str) or Path(file).name == "__init__.py":
        return f"the module {module.__name__}"
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _modules_in(folders: Sequence[str]) -> list[str]:
    """Return the names of the modules in folders; none of them is imported."""
    return sorted(found.name for found in pkgutil.iter_modules(folders) if not found.name.startswith("_"))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return (", ".join(names[:_SHOWN]) or "nothing") + (f" and {more:,} more" if more > 0 else "")
