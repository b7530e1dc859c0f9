"""The examples of feedback in docs/data.md are read as the page says, and no shape lacks one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textgym.feedback import load_records
from textgym.feedback.records.shapes.table import SHAPES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"
EXAMPLE = re.compile(
    r"^#### (?P<name>[^\n]+)\n"
    r"(?:(?!^#).)*?^```\w+\n(?P<rows>[^`]*)^```\n\n"
    r"^```\ntextgym reward fit --feedback (?P<file>\S+)\n(?P<said>[^`]*)^```",
    re.MULTILINE | re.DOTALL,
)
ALIKE = ("response_1, response_2", "answer_a, answer_b")
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")


def examples() -> list[re.Match[str]]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    return list(EXAMPLE.finditer(text.partition("\n## Feedback\n")[2]))


def test_every_shape_has_an_example() -> None:
    names = [shape.name for shape in SHAPES if not any(pair in shape.name for pair in ALIKE)]
    assert sorted(example["name"] for example in examples()) == sorted(names)


@pytest.mark.parametrize("example", examples(), ids=lambda example: str(example["name"]))
def test_examples_are_read_as_the_page_says(example: re.Match[str], tmp_path: Path) -> None:
    path = tmp_path / example["file"]
    path.write_text(example["rows"], encoding="utf-8")
    rows = [line for line in example["rows"].splitlines() if line not in "[]"]
    assert len(rows) == 3 + path.name.endswith(".csv")
    loaded = load_records(path)
    assert loaded.lines == example["said"].splitlines()
    assert [shaped.shape.name for shaped in loaded.shapes] == [example["name"]]
