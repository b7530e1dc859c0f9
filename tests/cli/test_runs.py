"""`textgym runs` and `textgym show` as commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.training.runs_made_up import EVIL, finish, make_run
from textgym.cli import app as cli
from textgym.cli.run_table import COLUMNS, lines_of
from textgym.training.run_facts import Change, RunFacts
from textgym.training.run_folder import RunFolder

FACTS = RunFacts(
    folder="runs/a",
    state="finished",
    command="train",
    task="TextSpell-v0",
    agent="ppo",
    reward="letters",
    rewards=Change(0.25, 0.5),
    gold=Change(None, 0.5),
    trained=1.0,
    unit="tokens",
    seconds=90.0,
    started="2030-01-01 10:20:30",
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def test_a_table_with_room_has_all_columns() -> None:
    header, row = lines_of([FACTS], None)
    assert re.split(r"\s{2,}", header) == [title for title, _, _ in COLUMNS]
    cells = ("runs/a", "finished", "0.250 -> 0.500", "1 token", "2030-01-01 10:20")
    assert [row.index(cell) for cell in cells] == sorted(row.index(cell) for cell in cells)


@pytest.mark.parametrize("width", [20, 60, 80, 100])
def test_a_narrow_table_says_what_it_leaves_out(width: int) -> None:
    header, row, note = lines_of([FACTS], width)
    assert max(len(header), len(row)) <= width
    assert header.startswith("run")
    assert note.startswith("No room for: ")
    assert "started" in note


def test_columns_without_a_cell_are_not_shown() -> None:
    header, _ = lines_of([RunFacts(folder="a", state="damaged", reason="x")], None)
    assert header.split() == ["run", "state"]


def test_wide_letters_take_two_columns() -> None:
    first, second = RunFacts(folder="実行", state="failed"), RunFacts(folder="abcd", state="failed")
    assert lines_of([first, second], None)[1:] == ["実行  failed", "abcd  failed"]


def test_runs_are_listed_with_why_they_failed() -> None:
    finish(make_run(Path("runs/a")))
    make_run(Path("runs/b"), agent=EVIL).path.joinpath("summary.json").write_text("{")
    with pytest.raises(ValueError, match="no"), make_run(Path("runs/c")):
        raise ValueError(f"no {EVIL}")
    shown = run("runs")
    assert shown.exit_code == 0
    assert "runs/b (damaged): expected JSON in" in shown.stdout
    assert "runs/c (failed): ValueError: no <script>" in shown.stdout
    assert not set("\u202e\x1b") & set(shown.stdout)
    listed = json.loads(run("runs", "runs", "--json").stdout)
    assert {each["folder"]: each["state"] for each in listed} == {
        "runs/a": "finished",
        "runs/b": "damaged",
        "runs/c": "failed",
    }


def test_no_runs_yet() -> None:
    assert "No runs in runs yet" in run("runs").stdout
    assert json.loads(run("runs", "--json").stdout) == []
    assert run("runs", "elsewhere").exit_code == cli.BAD_INPUT


def test_show_writes_a_page() -> None:
    finish(make_run(Path("runs/a")))
    shown = run("show", "runs/a")
    assert shown.exit_code == 0
    assert "textgym generate TextSpell-v0 --model runs/a" in shown.stdout
    assert Path("runs/a/report.html").is_file()


@pytest.mark.parametrize("name", ["nothing", "runs"])
def test_what_is_no_run_is_a_mistake(name: str) -> None:
    make_run(Path("runs/a"))
    shown = run("show", name)
    assert shown.exit_code == cli.BAD_INPUT
    assert "expected a run folder" in shown.stderr


def test_a_damaged_run_is_a_mistake() -> None:
    make_run(Path("a"))
    RunFolder("a").path.joinpath("log.jsonl").write_text("[]\n{}\n")
    assert "log.jsonl:1: expected JSON" in run("show", "a").stderr
