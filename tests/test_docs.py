"""The pages lead somewhere: no link is broken, and the index names every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")


def links(page: Path) -> list[str]:
    """The targets of links and images outside of code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are on code-hosting sites: lower case, hyphens, no punctuation."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    assert sorted({link for link in links(index) if re.fullmatch(r"[\w-]+\.md", link)}) == sorted(
        page.name for page in (ROOT / "docs").glob("*.md") if page != index
    )
    assert "(docs/index.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_check_sees_broken_links(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title: one\n[x](y.md#z) `[no](link)` [web](https://example.org) [here](#a-title-one)\n")
    assert links(page) == ["y.md#z", "#a-title-one"]
    assert anchors(page) == {"a-title-one"}


def test_the_guide_for_contributors_names_every_folder() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+)/`", text))
    packages = {
        path.parent.name for pattern in ("*/__init__.py", "textgym/*/__init__.py") for path in ROOT.glob(pattern)
    }
    assert packages | {"docs", "examples", "tests", "tools"} <= named
    assert [
        name
        for name in named
        if not any((folder / name).is_dir() for folder in (ROOT, ROOT / "textgym", ROOT / "agents"))
    ] == []


def test_one_time_is_told_for_the_demo() -> None:
    readme = re.search(r"^make demo .*; (\d+) minutes on 2 CPU cores", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert readme is not None
    told = f"about {readme[1]} minutes"
    for file in ("cli/app.py", "rlhf/demo.py", "rlhf/settings.py"):
        lines = (ROOT / "textgym" / file).read_text(encoding="utf-8").splitlines()
        assert [told in line for line in lines if "minutes" in line and re.search(r"[Dd]emo", line)] == [True]


def test_the_quick_start_names_every_example() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    assert all(f"(../examples/{path.name})" in text for path in (ROOT / "examples").glob("*.py"))
    assert "(docs/quickstart.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_one_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert "![" in text
    assert "make demo" in text[:500]
    assert all(command in text for command in ("make test", "pip install ."))
