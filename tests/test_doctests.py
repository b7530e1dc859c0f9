"""Every module can be imported, and the examples in its docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest


def module_names() -> list[str]:
    """Return the names that users import; pytest's own doctest collector would load second copies of modules."""
    names = []
    for package in ("textgym", "textgym.agents", "textgym.reward_models", "benchmarks"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        folders = spec.submodule_search_locations
        names += [package, *(module.name for module in pkgutil.walk_packages(folders, f"{package}."))]
    return sorted({name for name in names if not name.endswith("__main__")})


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0
