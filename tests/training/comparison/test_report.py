"""The HTML report is one file, runs nothing, and shows what models wrote letter by letter."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.training.comparison.records_made_up import compared, evaluated, made_up
from textgym.training.comparison import Comparison, Sample, report
from textgym.training.comparison.report import html_of, write_report

EVIL = "<script>alert(1)</script>\u202e\x1b[31m"


class Tags(HTMLParser):
    """Collects tags with their attributes, and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def comparison() -> Comparison:
    sample = Sample(EVIL, EVIL, EVIL, EVIL, 0.5)
    learners = [
        replace(made_up(label, seed, (0.2, 0.4, end)), samples=(sample,))
        for label, end in (("ppo", 0.8), ("reinforce", 0.5))
        for seed in range(2)
    ]
    return compared(*learners, *(evaluated("random", seed, 0.1) for seed in range(2)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "r.html"
    write_report(comparison(), file)
    return file.read_text(encoding="utf-8")


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "svg_of", lambda figure: "<svg/>")


def test_the_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    sources = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    policy = [attributes["content"] for _, attributes in tags.seen if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert not re.search(r"https?://", page)
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_every_plot_is_there_with_a_text_in_its_place(page: str) -> None:
    images = re.findall(r'<img alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)">', page)
    assert [alt for alt, _ in images] == [
        "Reward of held-out texts against tokens",
        "Reward of held-out texts against seconds",
        "Means at the end with intervals",
    ]
    assert all(b"<svg" in base64.b64decode(data) for _, data in images)


@pytest.mark.usefixtures("without_plots")
def test_what_speaks_against_the_figures_is_said() -> None:
    page = html_of(comparison())
    assert "Intervals of fewer than five seeds are too short" in page
    assert "different machines" not in page
    other = made_up("ppo", 2, (0.2, 0.9), machine={"processor": "another"})
    page = html_of(compared(*comparison().runs, other))
    assert "different machines" in page
    assert "Not all agents have as many finished runs." in page


@pytest.mark.usefixtures("without_plots")
def test_a_page_without_finished_runs() -> None:
    failed = made_up("ppo", 0, (0.1, 0.2), after={}, samples=(), failure="diverged")
    assert "1 of 1 run failed: diverged." in html_of(compared(failed))
