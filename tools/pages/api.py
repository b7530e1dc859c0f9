"""Pages of the API reference: one for each package, with the docstrings of its modules."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Sequence

from pages.markdown import Pages, headline, table

FOLDER = "api"
PACKAGES = ("textgym", "textgym.agents", "textgym.reward_models")
"""What is imported as one package, from three folders."""
LEFT_OUT = ("textgym.cli", "textgym.assets")
"""Packages without an interface in Python: the command line has pages of its own."""
_INTRODUCTION = """\
What `import textgym` offers, from the docstrings. A page of a package starts with its public names, which are
imported from the package itself; below them are the modules that define these, and all others.
"""


def modules_of(package: str) -> Iterator[str]:
    """Yield the public modules and packages inside a package, itself first."""
    yield package
    for _, name, is_package in pkgutil.iter_modules(importlib.import_module(package).__path__):
        whole = f"{package}.{name}"
        if whole in LEFT_OUT or name.startswith("_"):
            continue
        if is_package:
            yield from modules_of(whole)
        else:
            yield whole


def api_pages() -> Pages:
    """Return a page for each package, and one that lists them."""
    names = [name for package in PACKAGES for name in modules_of(package)]
    packages = sorted(name for name in names if _is_package(name))
    pages = {f"{FOLDER}/{package}.md": package_page(package, _own(package, names)) for package in packages}
    rows = [[f"[`{name}`]({name}.md)", headline(importlib.import_module(name))] for name in packages]
    pages[f"{FOLDER}/index.md"] = (
        f"# API reference\n\n{_INTRODUCTION}\n{table(['package', 'what it holds'], rows)}\n\n"
        "```{toctree}\n:hidden:\n\n" + "\n".join(packages) + "\n```\n"
    )
    return pages


def package_page(package: str, modules: Sequence[str]) -> str:
    """Return the page of a package with some modules."""
    loaded = importlib.import_module(package)
    parts = [f"# {package}", _directive("automodule", package, "no-members")]
    names = sorted(vars(loaded).get("__all__", ()), key=str.lower)
    if names:
        links = ", ".join(f"{{py:obj}}`{name} <{package}.{name}>`" for name in names if not name.startswith("_"))
        parts.append(f"Public names: {links}.")
    for module in modules:
        parts += [f"## {module.removeprefix(f'{package}.')}", _directive("automodule", module)]
    return "\n\n".join(parts) + "\n"


def _own(package: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.rpartition(".")[0] == package and not _is_package(name)]


def _is_package(name: str) -> bool:
    return importlib.util.find_spec(name).submodule_search_locations is not None  # type: ignore[union-attr]


def _directive(name: str, argument: str, *options: str) -> str:
    """Return a directive of reStructuredText, in which docstrings are written."""
    lines = [f".. {name}:: {argument}", *(f"   :{option}:" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```"])
