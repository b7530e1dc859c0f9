"""The page of a run is one file that runs nothing, whatever its models wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.training.comparison.test_report import Tags
from tests.training.runs_made_up import EVIL, finish, make_run
from textgym.training import run_page
from textgym.training.run_page import html_of
from textgym.training.run_report import read_report


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_page, "svg_of", lambda figure: "<svg/>")


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    run = finish(make_run(Path("a"), text=EVIL, reward=EVIL, options={EVIL: EVIL}), text=EVIL)
    page = html_of(read_report(run))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in tags.seen}
    sources = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert len(sources) == 3  # reward, KL, length
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r"https?://", page)
    assert not set("\u202e\x1b") & set(page)
    assert page.count("&lt;script&gt;alert(1)") > 8


@pytest.mark.usefixtures("without_plots")
def test_all_sections_are_there() -> None:
    page = html_of(read_report(finish(make_run(Path("a")))))
    titles = re.findall("<h[23]>(.*?)</h[23]>", page)
    assert [title for title in titles if "/" not in title] == [
        "Curves",
        "Held-out texts",
        "Training",
        "Samples through training",
        "Held-out texts",
        "Resume",
        "Load",
        "Settings",
        "Other than the defaults",
        "Defaults",
        "Versions",
    ]
    assert '<img alt="Reward of training texts"' in page
    assert "abc <mark>new</mark>" in page
    assert "Warning: abc few" in page
    assert "abc prompt" in page
    assert "200 tokens" in page


@pytest.mark.usefixtures("without_plots")
def test_a_run_that_has_just_begun_has_a_page() -> None:
    run = make_run(Path("a"))
    for name in ("log.jsonl", "samples.jsonl", "summary.json", "texts-before.jsonl"):
        (run.path / name).unlink()
    page = html_of(read_report(run))
    assert "textgym train --resume a" in page
    assert "<h2>Curves" not in page


@pytest.mark.usefixtures("without_plots")
def test_plots_of_other_commands_are_shown_if_they_are_plots() -> None:
    run = make_run(Path("a"), "rlhf")
    (run.path / "rounds.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    (run.path / "comparison.png").write_text("<script>")
    page = html_of(read_report(run))
    assert 'src="data:image/png;base64,iVBORw0KGgouLi4="' in page
    assert "Measures of each model" not in page


@pytest.mark.usefixtures("without_plots")
def test_why_a_run_failed_is_said() -> None:
    run = make_run(Path("a"))
    with pytest.raises(FloatingPointError), run:
        raise FloatingPointError(EVIL)
    assert "It failed: FloatingPointError: &lt;script&gt;" in html_of(read_report(run))
