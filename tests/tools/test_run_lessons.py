"""Lessons are run one after the other, and what came of them is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_lessons

SCRIPT = """# %% [markdown]
# # 3. Small
#
# Prose.

# %%
from textgym.teaching import Claim, begin
from textgym.types import Interval

lesson = begin(globals())
print("runs")


def claims():
    return [Claim("Size:", Interval(3, 2, 4), above=LEAST)]


LEAST = 1
"""
PAGE = "# Lessons\n\n<!-- results -->\nold\n<!-- end of results -->\n\nEnd.\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "03_small.py").write_text(SCRIPT)
    (tmp_path / "README.md").write_text(PAGE)
    monkeypatch.setattr(run_lessons, "FOLDER", tmp_path)
    return tmp_path


def test_results_are_kept_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = run_lessons.Result("1. Old", 9.6, 100.0, ["One.", "Two."], "2026-01-31")
    run_lessons.keep_results({"01_old": old}, folder)
    run_lessons.main([])
    page = (folder / "README.md").read_text().splitlines()
    assert page[:3] == ["# Lessons", "", "<!-- results -->"]
    assert page[3] == "| lesson | seconds | of the claims | claims, over three seeds or more, with 95 % intervals |"
    assert page[5] == "| [1. Old](01_old.py) | 10 | 100 | One.<br>Two. |"
    assert page[6].startswith("| [3. Small](03_small.py) | ")
    assert page[6].endswith(" | Size: 3.000 [2.000, 4.000], claimed at least 1 |")
    assert page[7:] == ["<!-- end of results -->", "", "End."]
    assert set(json.loads((folder / "results.json").read_text())) == {"01_old", "03_small"}
    assert "== 3. Small\nruns\n" in capsys.readouterr().out


def test_a_claim_that_fails_is_the_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "03_small.py").write_text(SCRIPT.replace("LEAST = 1", "LEAST = 2.5"))
    with pytest.raises(SystemExit, match=r"03_small\.py failed with status 1"):
        run_lessons.main(["3"])
    assert "FAILS: Size: 3.000" in capsys.readouterr().out
    assert not (folder / "results.json").exists()


def test_numbers_without_a_lesson_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_lessons.main(["4"])
    assert "expected numbers of lessons, got [4]" in capsys.readouterr().err


def test_notebooks_keep_their_outputs(folder: Path) -> None:
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name)
    text = json.loads(run_lessons.write_notebook(folder / "03_small.py", folder / "notebooks").read_text())
    assert [cell["cell_type"] for cell in text["cells"]] == ["markdown", "code"]
    assert text["cells"][1]["outputs"][0]["text"] == ["runs\n"]


def test_a_notebook_of_the_same_code_is_not_run_again(folder: Path) -> None:
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name)
    script, notebooks = folder / "03_small.py", folder / "notebooks"
    file = run_lessons.write_notebook(script, notebooks)
    file.write_text(file.read_text().replace('"runs\\n"', '"ran\\n"'))
    script.write_text(SCRIPT.replace("Prose.", "[Other](../docs/a.md) prose."))
    prose, code = json.loads(run_lessons.write_notebook(script, notebooks).read_text())["cells"]
    assert "".join(prose["source"]) == "# 3. Small\n\n[Other](../../docs/a.md) prose."
    assert code["outputs"][0]["text"] == ["ran\n"]
    script.write_text(SCRIPT.replace("LEAST = 1", "LEAST = 2"))
    assert (
        json.loads(file.read_text())["metadata"]
        == json.loads(run_lessons.write_notebook(script, notebooks).read_text())["metadata"]
    )
    assert json.loads(file.read_text())["cells"][1]["outputs"][0]["text"] == ["runs\n"]
