"""The pages on runs and notebooks: their code runs, and their tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from tests.training.runs_made_up import finish, make_run
from textgym.cli.run_table import COLUMNS
from textgym.history import History
from textgym.training.run_facts import State

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_code_for_notebooks_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    finish(make_run(Path("runs/spelling")))
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page("notebooks.md"), re.DOTALL | re.MULTILINE):
        exec(compile(block, "notebooks.md", "exec"), names)
    assert isinstance(names["agent"].history, History)  # type: ignore[attr-defined]
    assert Path("spelling.png").is_file()
    assert list(Path("tensorboard/spelling").glob("events.out.tfevents.*"))
    assert capsys.readouterr().out.startswith("96.0 ")


def test_the_page_on_runs_names_every_column_and_state() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", page("runs.md"), re.MULTILINE)
    named = {name for row in rows for name in row.split(", ")}
    assert {column.title for column in COLUMNS} <= named
    assert set(get_args(State)) <= named
