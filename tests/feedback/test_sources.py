"""Feedback is read from projects and files, and its digest tells whether it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from textgym.errors import DataError
from textgym.feedback import FeedbackStore, write_records
from textgym.feedback.sources import digest_of, is_project, read_feedback
from textgym.feedback.types import Comparison

RECORDS = [Comparison(f"{row}", f"Ask {row}.", response_a="Yes.", response_b="No.", choice="a") for row in range(3)]


def test_a_project_and_a_file_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "votes.jsonl", RECORDS)
    with FeedbackStore(tmp_path / "votes.db") as store:
        store.add_votes([(f"q{row}", [record]) for row, record in enumerate(RECORDS)])
    assert (is_project(tmp_path / "votes.db"), is_project(tmp_path / "votes.jsonl")) == (True, False)
    assert not is_project(tmp_path / "nothing.db")
    assert read_feedback(tmp_path / "votes.jsonl", quiet=True) == RECORDS
    assert capsys.readouterr().out == ""
    assert read_feedback(tmp_path / "votes.jsonl") == read_feedback(tmp_path / "votes.db") == RECORDS
    assert "Read as: records of textgym, 3 comparisons" in capsys.readouterr().out


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="expected"):
        read_feedback(tmp_path / "empty.jsonl")
    with pytest.raises(FileNotFoundError):
        read_feedback(tmp_path / "nothing.jsonl")


def test_the_digest_is_that_of_the_records_in_their_order() -> None:
    assert digest_of(RECORDS) == digest_of(list(RECORDS))
    assert len({digest_of(RECORDS), digest_of(RECORDS[:2]), digest_of(RECORDS[::-1]), digest_of([])}) == 4
