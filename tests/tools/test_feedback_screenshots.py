"""The screenshots of the feedback page can be taken again."""

from __future__ import annotations

import re
from pathlib import Path

import feedback_screenshots
import pytest

from benchmarks.feedback_page import find_chromium
from textgym.errors import MissingExtraError

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_screenshots_of_the_page_are_taken(tmp_path: Path) -> None:
    try:
        find_chromium()
    except MissingExtraError as error:
        pytest.skip(str(error))
    feedback_screenshots.main(str(tmp_path))
    shown = set(re.findall(r"\]\((feedback-\w+\.png)\)", (DOCS / "feedback.md").read_text(encoding="utf-8")))
    assert {path.name for path in tmp_path.iterdir()} == shown
