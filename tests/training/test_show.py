"""`textgym show` prints the report of a run and writes its page beside it."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from tests.training.runs_made_up import EVIL, finish, make_run
from textgym.training import run_page
from textgym.training import show as module
from textgym.training.show import run_show


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_page, "svg_of", lambda figure: "<svg/>")


def test_the_report_is_printed_and_the_page_written(capsys: pytest.CaptureFixture[str]) -> None:
    finish(make_run(Path("a"), text=EVIL), text=EVIL)
    page = run_show("a")
    assert page == Path("a/report.html").absolute()
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    shown = capsys.readouterr()
    for text in ("a: textgym train, TextSpell-v0, ppo, reward letters, 200 tokens", "kl_coef", "0.250 [0.150, 0.350]"):
        assert text in shown.out
    assert "Page: a/report.html" in shown.out
    assert "few" in shown.err
    assert not set("\u202e\x1b") & set(shown.out + shown.err)


def test_the_browser_is_opened_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: not opened.append(url))
    make_run(Path("a"))
    run_show("a")
    assert opened == []
    run_show("a", open_page=True)
    assert opened == [Path("a/report.html").absolute().as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    run_show("a", open_page=True)
    assert "no browser was found; open" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(Path("a"))

    def refuse(file: Path, text: str) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(module, "replace_text", refuse)
    assert run_show("a", open_page=True) is None
    shown = capsys.readouterr()
    assert "could not be written (not yours)" in shown.err
    assert "Versions" in shown.out


def test_a_page_is_no_beginning_of_something_else() -> None:
    """A run that was killed before its first checkpoint begins again, although somebody looked at it."""
    from textgym.training.run_folder import RunFolder

    RunFolder.create("a", "train", {"seed": 1}).__exit__(None, None, None)
    run_show("a")
    RunFolder.create("a", "train", {"seed": 1})
    assert not Path("a/report.html").exists()
