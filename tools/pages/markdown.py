"""Parts of Markdown pages: tables, docstrings, and files that are written only where they change."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pages.links import outside_code

Pages = Mapping[str, str]
"""Name of a file, from ``docs/generated/`` -> its text."""
_ROLE = re.compile(r":(?P<kind>class|func|meth|attr|data|mod|exc|obj):`(?P<target>[^`]+)`")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a Markdown table.

    >>> print(table(["a", "b"], [["1|2", "x\ny"]]))
    | a | b |
    | --- | --- |
    | 1\|2 | x y |
    """
    lines = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *lines))


def code(text: object) -> str:
    """Return a text as code; nothing of nothing."""
    return f"`{text}`" if str(text) else ""


def plain(text: str) -> str:
    r"""Return a text that Markdown shows as it is, but for code in single backticks.

    >>> print(plain("<eos> and *all* of a_b, `*`"))
    \<eos> and \*all\* of a\_b, `*`
    """
    return outside_code(text, lambda part: re.sub(r"([\\`*_<\[\]{}$])", r"\\\1", part))


def docstring(thing: object) -> str:
    """Return a docstring as Markdown, whose references to Python objects become links."""
    module = inspect.getmodule(thing)
    home = "" if module is None else f"{module.__name__}."

    def linked(role: re.Match[str]) -> str:
        own = "" if "." in role["target"] else f"~{home}"  # a bare name is one of the module's
        return f"{{py:{role['kind']}}}`{own}{role['target']}`"

    text = _ROLE.sub(linked, (inspect.getdoc(thing) or "").strip())
    return re.sub(r"(?<!`)``([^`\n]+)``(?!`)", r"`\1`", text)


def headline(thing: object) -> str:
    """Return the first sentence of a docstring as Markdown, without the dot at its end."""
    first = " ".join(docstring(thing).split("\n\n", maxsplit=1)[0].split())
    return re.split(r"(?<=[^.][a-z0-9)`])[.:](?= [A-Z`{])", first)[0].removesuffix(".")


def write(folder: Path, pages: Pages) -> None:
    """Write pages, leave alone those that stay the same, and remove other Markdown files."""
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".ipynb") and path.relative_to(folder).as_posix() not in pages:
            path.unlink()
