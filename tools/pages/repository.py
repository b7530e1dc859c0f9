"""Pages for files outside of ``docs/``: the changelog, the guide for contributors, examples and lessons."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from pages.links import GENERATED, site_links
from pages.markdown import Pages, table


def root_pages(root: Path) -> Pages:
    """Return the changelog and the guide for contributors."""
    return {
        page: site_links((root / file).read_text(encoding="utf-8"), file, f"{GENERATED}/{page}")
        for file, page in (("CHANGELOG.md", "changelog.md"), ("CONTRIBUTING.md", "contributing.md"))
    }


def example_pages(root: Path) -> Pages:
    """Return a page for each script in ``examples/``, and one that lists them."""
    pages, rows = dict[str, str](), list[list[str]]()
    for path in sorted((root / "examples").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        title, prose = titled(ast.get_docstring(ast.parse(source)) or path.stem)
        file = f"../../../examples/{path.name}"
        pages[f"examples/{path.stem}.md"] = (
            f"# {title}\n\n{prose}\n\n{{download}}`Download {path.name} <{file}>`\n\n"
            f"```{{literalinclude}} {file}\n:language: python\n```\n"
        )
        rows.append([f"[{path.name}]({path.stem}.md)", title])
    names = "\n".join(name.removeprefix("examples/").removesuffix(".md") for name in pages)
    pages["examples/index.md"] = (
        "# Examples\n\nComplete scripts, one for each thing that one writes oneself; "
        "the tests run them with smaller numbers.\n\n"
        f"{table(['script', 'what it shows'], rows)}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )
    return pages


def titled(docstring: str) -> tuple[str, str]:
    r"""Return the beginning of the first line of a script's docstring as a title, and the rest as Markdown.

    >>> titled("A task of your own: short.\n\nRun it.")
    ('A task of your own', 'A task of your own: short.\n\nRun it.')
    """
    line, _, below = docstring.partition("\n")
    title, colon, _ = line.partition(": ")
    prose = docstring if colon else below
    return title.strip().removesuffix("."), re.sub(r"(?<!`)``([^`\n]+)``", r"`\1`", prose).strip()


def lesson_pages(root: Path) -> Pages:
    """Return the stored notebooks of the lessons, which are shown with their outputs, and a page that lists them.

    Raises:
        ValueError: A lesson is not stored as a notebook.
    """
    folder = root / "lessons"
    lessons = sorted(path for path in folder.glob("*.py") if re.match(r"\d\d_", path.name))
    pages, rows = dict[str, str](), list[list[str]]()
    for path in lessons:
        notebook = folder / "notebooks" / f"{path.stem}.ipynb"
        if not notebook.is_file():
            raise ValueError(f"expected {notebook.relative_to(root)}, got no such file; store it with its outputs")
        text = notebook.read_text(encoding="utf-8")
        pages[f"lessons/{path.stem}.ipynb"] = text
        title, first = introduction(json.loads(text))
        rows.append([str(int(path.stem[:2])), f"[{title or path.stem}]({path.stem}.ipynb)", first])
    if not pages:
        return {}
    names = "\n".join(path.stem for path in lessons)
    pages["lessons/index.md"] = (
        "# Lessons\n\nEach lesson starts from one question and can be read alone. "
        "The outputs are those of the stored run; the scripts are in `lessons/`, "
        "the notebooks in `lessons/notebooks/`.\n\n"
        f"{table(['', 'lesson', 'what it is about'], rows)}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )
    return pages


def introduction(notebook: dict[str, Any]) -> tuple[str, str]:
    """Return the title and the first paragraph of a notebook; empty where there is none."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    title = re.search(r"^# (.+)$", text, re.M)
    below = text[title.end() :] if title else text
    paragraphs = [part.strip() for part in below.split("\n\n") if part.strip()]
    first = next((part for part in paragraphs if re.match(r"[\w*`\"(]", part)), "")
    return (title[1].strip() if title else ""), " ".join(first.split())
