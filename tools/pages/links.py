"""Links of Markdown pages: to files on a code-hosting site, and to pages on the documentation site."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import PurePosixPath

GENERATED = "generated"
"""Folder of generated pages inside ``docs/``."""
PLACES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": f"{GENERATED}/contributing.md",
    "CHANGELOG.md": f"{GENERATED}/changelog.md",
    "examples": f"{GENERATED}/examples/index.md",
    "lessons": f"{GENERATED}/lessons/index.md",
    "lessons/README.md": f"{GENERATED}/lessons/index.md",
    "textgym": f"{GENERATED}/api/index.md",
    "textgym/cli": f"{GENERATED}/commands/index.md",
    "textgym/tasks": f"{GENERATED}/environments/index.md",
    "textgym/rewards/names.py": f"{GENERATED}/rewards.md",
    "textgym/metrics": f"{GENERATED}/metrics.md",
    "agents": f"{GENERATED}/agents.md",
}
"""File or folder of the repository -> page of the site, from ``docs/``; those of ``docs/`` itself are pages."""
_SCRIPT = re.compile(r"(?P<folder>examples|lessons)/(notebooks/)?(?P<name>\w+)\.(py|ipynb)")
_CODE = re.compile(r"^(?P<fence>```+).*?^(?P=fence)|(?P<ticks>`+)[^`\n](?:[^\n]*?[^`\n])?(?P=ticks)(?!`)", re.M | re.S)
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<file>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def page_of(file: str) -> str | None:
    """Return the page of the site for a file or folder of the repository, from ``docs/``; ``None`` where there is none.

    >>> page_of("docs/ppo.md"), page_of("examples/own_task.py"), page_of("lessons/notebooks/05_ppo.ipynb")
    ('ppo.md', 'generated/examples/own_task.md', 'generated/lessons/05_ppo.ipynb')
    """
    if file in PLACES:
        return PLACES[file]
    if script := _SCRIPT.fullmatch(file):
        suffix = "md" if script["folder"] == "examples" else "ipynb"
        return f"{GENERATED}/{script['folder']}/{script['name']}.{suffix}"
    return file.removeprefix("docs/") if file.startswith("docs/") and file.endswith(".md") else None


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a Markdown text with what is not code changed.

    >>> outside_code("a `a` a", str.upper)
    'A `a` A'
    """
    parts, end = list[str](), 0
    for code in _CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def site_links(text: str, source: str, page: str) -> str:
    """Return a Markdown text with the links of the site.

    A link that is called by the name of its page gets the title there, which MyST puts in place of no text.

    Args:
        text: The text.
        source: The file of the repository that it stands in, whose links are relative to it.
        page: The page of the site that shows it, from ``docs/``.
    """

    def replace(link: re.Match[str]) -> str:
        file = os.path.normpath(PurePosixPath(source).parent / link["file"])
        target, anchor = page_of(file) or os.path.relpath(file, "docs"), link["anchor"] or ""
        called = "" if link["text"] in (link["file"], file) and target.endswith(".md") else link["text"]
        return f"[{called}]({os.path.relpath(target, PurePosixPath(page).parent)}{anchor})"

    # Links with code in their text are whole only together with it, so that code blocks alone are left out.
    return _outside_fences(text, lambda part: _LINK.sub(replace, part))


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(^```+.*?^```+)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def with_toctrees(index: str) -> str:
    """Return the start page with a hidden table of contents under each heading, of the pages that its part links.

    The list of pages is written once, as one reads it on a code-hosting site, and the navigation is made from it.
    """
    first, *parts = re.split(r"^## ", index, flags=re.M)
    seen = set[str]()
    whole = [first]
    for part in parts:
        targets = [link["file"] for link in _LINK.finditer(part) if link["file"].endswith((".md", ".ipynb"))]
        pages = [target for target in dict.fromkeys(targets) if target not in {*seen, "index.md"}]
        seen.update(pages)
        entries = "\n".join(page.rpartition(".")[0] for page in pages)
        caption = part.partition("\n")[0]
        tree = f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n\n" if pages else ""
        whole.append(f"## {part.rstrip()}\n{tree}")
    return "".join(whole)
