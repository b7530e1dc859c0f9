"""References in docstrings that are not spelled like their target: inherited, imported, or of another package."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType

PACKAGE = "textgym"


def meanings(target: str, module: str | None, kind: str | None) -> Iterator[str]:
    """Yield the definitions that a reference can mean, as Python finds names: in the class, the module, anywhere.

    Args:
        target: The name in the reference.
        module: Full name of the module that the docstring stands in, if any.
        kind: Name of the class that it stands in, if any.
    """
    name = target.lstrip("~.").removesuffix("()")
    starts = [f"{module}.{kind}.{name}"] if module and kind else []
    starts += [f"{module}.{name}"] if module else []
    for start in [*starts, name]:
        found = definition(start)
        if found is not None:
            yield found


def is_foreign(name: str) -> bool:
    """Say whether a full name is one of Python or of another package."""
    return name.partition(".")[0] != PACKAGE


def has_no_page(name: str) -> bool:
    """Say whether a full name is one that the site does not document: foreign, or private."""
    return is_foreign(name) or name.rpartition(".")[2].startswith("_")


def definition(name: str) -> str | None:
    """Return the full name under which something is defined that can also be imported, or inherited, from elsewhere.

    >>> definition("textgym.agents.PPO"), definition("textgym.agents.ppo.PPO.learn"), definition("textgym.nothing")
    ('textgym.agents.ppo.PPO', 'textgym.agents.common.on_policy.OnPolicyAgent.learn', None)
    """
    if is_foreign(name):
        root = name.partition(".")[0]
        return name if root in sys.modules or hasattr(builtins, root) or importlib.util.find_spec(root) else None
    module, path = _longest_module(name)
    if not path:
        return module.__name__
    first, *rest = path
    if first in _imports(module):
        return definition(".".join((_imports(module)[first], *rest)))
    found = vars(module).get(first)
    if first not in vars(module) or not rest:
        return f"{module.__name__}.{first}" if first in vars(module) else None
    bases = found.__mro__ if inspect.isclass(found) and len(rest) == 1 else ()
    owner = next((base for base in bases if _has(base, rest[0])), None)
    return None if owner is None else f"{owner.__module__}.{owner.__qualname__}.{rest[0]}"


def _has(kind: type, name: str) -> bool:
    """Say whether a class itself defines an attribute, also one that only its instances have."""
    if name in vars(kind) or name in vars(kind).get("__annotations__", {}):
        return True
    return not is_foreign(kind.__module__) and f"self.{name}" in inspect.getsource(kind)


def _longest_module(name: str) -> tuple[ModuleType, list[str]]:
    """Return the longest module that a name begins with, and the rest of the name."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError:
            continue
    return importlib.import_module(parts[0]), parts[1:]


@cache
def _imports(module: ModuleType) -> Mapping[str, str]:
    """Return the names that the imports of a module bind, also those for type checkers, with what they stand for."""
    found = dict[str, str]()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {each.asname or each.name: each.name for each in node.names if each.asname or "." not in each.name}
    return found
