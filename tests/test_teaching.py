"""The frame of a lesson: cells, answers that are right, wrong or missing, claims that hold or not."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textgym.plots import blank_figure
from textgym.teaching import Claim, WrongError, begin, expect, keep, lessons_in, read_cells, read_lesson
from textgym.types import Interval

SCRIPT = '''# %% [markdown]
# # 7. A lesson
#
# Prose.

# %%
from dataclasses import dataclass

from textgym.teaching import Claim, begin, expect
from textgym.types import Interval

lesson = begin(globals())
answer_1 = None


@dataclass
class Defined:
    size: int = 3


def check_1(answer):
    """Think
    twice."""
    expect(answer(2), 4, "the square of 2")
    expect(answer(3), 9, "the square of 3")
    return "Squares grow."


# %% tags=["experiment", "long"]
raise AssertionError("an experiment runs")


# %%
def claims():
    return [Claim("Size:", Interval(Defined().size, 2.5, 3.5), above=LEAST)]


LEAST = 2
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "07_lesson.py"
    path.write_text(SCRIPT)
    return path


def answered(script: Path, answer: str) -> Path:
    script.write_text(SCRIPT.replace("answer_1 = None", f"answer_1 = {answer}"))
    return script


def test_a_script_is_split_into_its_cells() -> None:
    cells = read_cells(SCRIPT)
    assert [cell.is_code for cell in cells] == [False, True, True, True]
    assert [cell.tags for cell in cells] == [(), (), ("experiment", "long"), ()]
    assert [SCRIPT.splitlines()[cell.line - 1] for cell in cells] == [cell.source.splitlines()[0] for cell in cells]
    assert read_cells("x = 1\n") == []


@pytest.mark.parametrize(
    ("answer", "right", "text"),
    [
        ("lambda x: x * x", True, "Lesson 7. A lesson, exercise 1: right. Squares grow."),
        ("lambda x: 2 * x", False, "The square of 3 is 9., your answer gives 6.. Hint: Think twice."),
        ("None", False, "not answered yet; write answer_1. Hint: Think twice."),
        ("lambda x: None", False, "not answered yet; write answer_1. Hint: Think twice."),
        (
            "lambda x: x / 0",
            False,
            "answer_1 failed with ZeroDivisionError: division by zero (line 13 of 07_lesson.py)",
        ),
        ("9", False, "not yet. Expected a function, got 9; write `def answer_1(...)`. Hint: Think twice."),
        ("lambda x: 'four'", False, "The square of 2 is 4., your answer gives 'four'."),
    ],
)
def test_an_answer_is_checked(
    script: Path, answer: str, right: bool, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = read_lesson(answered(script, answer)).check_answer(1)
    assert verdict.right is right
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["0.5", "lambda: 0.5"])
def test_a_value_to_find_is_not_given_away(script: Path, answer: str) -> None:
    """Unlike what a function should have returned in one case."""
    script.write_text(
        f"# %%\nfrom textgym.teaching import expect\nanswer_1 = {answer}\n"
        'def check_1(answer):\n    """Think twice."""\n    expect(answer, 0.25, "the derivative")\n'
    )
    verdict = read_lesson(script).check_answer(1)
    assert not verdict.right
    assert verdict.text.startswith("not yet. The derivative is not ")
    assert "0.25" not in verdict.text


def test_what_is_no_lesson_or_no_exercise_is_said(script: Path, tmp_path: Path) -> None:
    lesson = read_lesson(script)
    assert lesson.exercises == [1]
    with pytest.raises(ValueError, match=r"expected one of the exercises \[1\], got 2"):
        lesson.check_answer(2)
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"expected a script with cells, .* got empty\.py"):
        read_lesson(empty)


def run(script: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    return end.value.code


def test_a_script_checks_an_answer_or_its_claims_alone(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, monkeypatch, "--exercise", "1") == 1
    assert run(answered(script, "lambda x: x**2"), monkeypatch, "--exercise", "1") == 0
    assert "right" in capsys.readouterr().out
    assert run(script, monkeypatch, "--claims") == 0
    assert capsys.readouterr().out == "holds: Size: 3.000 [2.500, 3.500], claimed at least 2\n"
    script.write_text(SCRIPT.replace("LEAST = 2", "LEAST = 2.75"))
    assert run(script, monkeypatch, "--claims") == 1
    assert "FAILS" in capsys.readouterr().out
    assert run(script, monkeypatch, "--exercise", "1", "--claims") == 2
    assert "not allowed with argument --exercise" in capsys.readouterr().err
    assert run(script, monkeypatch, "--exercise", "3") == 2
    assert "expected one of the exercises [1], got 3" in capsys.readouterr().err


def test_without_options_a_script_runs_from_top_to_bottom(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script)])
    with pytest.raises(AssertionError, match="an experiment runs"):
        runpy.run_path(str(script), run_name="__main__")


def test_a_notebook_checks_what_it_defines(capsys: pytest.CaptureFixture[str]) -> None:
    def check(answer: float) -> None:
        """It is small."""
        expect(answer, 1, "the number")

    notebook: dict[str, Any] = {"__name__": "__main__", "check_1": check}
    lesson = begin(notebook)
    assert not lesson.check_answer(1).right
    notebook["answer_1"] = 1
    assert lesson.check_answer(1).right
    assert capsys.readouterr().out.splitlines()[1] == "Lesson, exercise 1: right."


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (1, 1.0),
        (1.0000001, 1),
        ([1, 2], (1.0, 2.0)),
        (torch.ones(2, requires_grad=True), [1, 1]),
        ("ppo", "ppo"),
        (True, True),
    ],
)
def test_what_is_equal(found: Any, right: Any) -> None:
    expect(found, right, "it")


@pytest.mark.parametrize(
    ("found", "right"),
    [(1.1, 1), ([1, 2], [1, 2, 3]), ("1", 1), ("a2c", "ppo"), ({}, 1), (np.nan, 1), (False, True), ([1, [2]], [1, 2])],
)
def test_what_is_different(found: Any, right: Any) -> None:
    with pytest.raises(WrongError, match="It is "):
        expect(found, right, "it")


def test_a_claim_is_about_the_whole_interval() -> None:
    measured = Interval(0.5, 0.4, 0.6)
    assert Claim("x", measured, above=0.4, below=0.6).holds
    assert not Claim("x", measured, above=0.45).holds
    assert not Claim("x", measured, below=0.55).holds


@pytest.mark.plots
def test_figures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    figure = blank_figure()
    assert keep(figure, "01-tree") is figure
    assert (tmp_path / "runs/lessons/01-tree.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"plot: {Path('runs/lessons/01-tree.png')}\n"


def test_lessons_are_found_in_order(tmp_path: Path) -> None:
    for name in ("02_b.py", "01_a.py", "notes.py", "03_c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in lessons_in(tmp_path)] == ["01_a.py", "02_b.py"]
