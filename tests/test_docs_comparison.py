"""The page on comparisons shows the finished runs that lie beside it, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textgym.training.comparison import markdown_of, read_comparison

ROOT = Path(__file__).resolve().parents[1]
PAGE, RUNS = ROOT / "docs" / "comparison.md", ROOT / "docs" / "comparisons"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")


@pytest.mark.parametrize("folder", sorted(path.name for path in RUNS.glob("*")) if RUNS.is_dir() else [])
def test_the_figures_of_the_page_are_those_of_the_runs(folder: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    text = markdown_of(read_comparison(RUNS / folder))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    assert [line for line in tables if line not in page] == []
    paragraphs = [line for line in text.splitlines() if re.match(r"\*\*[\w.-]+\*\*: ", line)]
    assert [line for line in paragraphs if line not in page] == []


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
    assert "has the highest reward" in capsys.readouterr().out


def test_every_rule_of_a_paragraph_is_on_the_page() -> None:
    from textgym.training.comparison import findings

    said = PAGE.read_text(encoding="utf-8")
    shares = {
        "_SAME_LENGTH": "by more than 20 %",
        "_COLLAPSED": "fell below half of the start's",
        "_FELL_BACK": "more than 20 % of the gain below its top",
        "_STILL_RISING": "more than 15 % of the gain came in the last fifth",
        "_UNEVEN": "further apart than half of the gain",
        "_UNSPENT": "less than 90 % of the budget",
        "_ENDS": "by more than 20 points",
    }
    values = {"_SAME_LENGTH": 0.2, "_COLLAPSED": 0.5, "_FELL_BACK": 0.2, "_STILL_RISING": 0.15, "_UNEVEN": 0.5}
    values |= {"_UNSPENT": 0.9, "_ENDS": 0.2}
    assert {name: vars(findings)[name] for name in values} == values
    assert [text for text in shares.values() if text not in said] == []
