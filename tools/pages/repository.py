"""Pages for files outside of ``docs/``: the changelog, the guide for contributors, examples and lessons."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

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
    """Return the stored notebooks of the lessons, which are shown with their outputs, and their page with the list.

    Raises:
        ValueError: A lesson is not stored as a notebook.
    """
    folder = root / "lessons"
    lessons = sorted(path.stem for path in folder.glob("*.py") if re.match(r"\d\d_", path.name))
    pages = dict[str, str]()
    for name in lessons:
        notebook = folder / "notebooks" / f"{name}.ipynb"
        if not notebook.is_file():
            raise ValueError(f"expected {notebook.relative_to(root)}, got no such file; store it with its outputs")
        page = f"lessons/{name}.ipynb"
        pages[page] = _with_site_links(notebook.read_text(encoding="utf-8"), f"lessons/notebooks/{name}.ipynb", page)
    if not pages:
        return {}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    text = site_links(readme, "lessons/README.md", f"{GENERATED}/lessons/index.md")
    names = "\n".join(lessons)
    pages["lessons/index.md"] = f"{text}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    return pages


def _with_site_links(notebook: str, source: str, page: str) -> str:
    """Return a notebook with the links of the site in its prose."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = site_links("".join(cell["source"]), source, f"{GENERATED}/{page}").splitlines(
                keepends=True
            )
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
