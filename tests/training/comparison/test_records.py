"""Records of runs: what is written is read again, and what somebody else wrote is checked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.comparison.records_made_up import evaluated, made_up
from textgym.errors import CheckpointError
from textgym.training.comparison import Point, Spent, read_record
from textgym.training.comparison.records import write_record
from textgym.types import Interval


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = made_up("ppo", 3, (0.25, 0.5, 0.75), warnings=("a warning",), gpu_memory=5)
    write_record(tmp_path / "a.jsonl", record)
    assert read_record(tmp_path / "a.jsonl") == record
    assert record.name == "ppo-3"
    only = evaluated("random", 0, 0.25)
    write_record(tmp_path / "b.jsonl", only)
    assert read_record(tmp_path / "b.jsonl") == only


def test_what_is_not_known_or_not_finite_is_null(tmp_path: Path) -> None:
    point = Point(Spent(None, 1.0, None), {"reward": 0.123456789})
    one = Interval(0.5, -math.inf, math.inf)
    record = made_up("a", 0, (0, 1), points=(point,), after={"reward": one}, failure="diverged", memory=None)
    write_record(tmp_path / "a.jsonl", record)
    found = read_record(tmp_path / "a.jsonl")
    assert found == replace(record, points=(point._replace(measures={"reward": 0.123457}),))
    assert "Infinity" not in (tmp_path / "a.jsonl").read_text()


def test_settings_keep_all_their_digits(tmp_path: Path) -> None:
    settings = {"options": {"learning_rate": 0.00012345678912345}}
    write_record(tmp_path / "a.jsonl", made_up("a", 0, (0, 1), settings=settings))
    assert read_record(tmp_path / "a.jsonl").settings == settings


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda lines: lines[:-1], "got other lines; restore the file, or remove it"),
        (lambda lines: [*lines, lines[0]], "got other lines"),
        (lambda lines: ["{}", *lines], "got something else in line 1"),
        (lambda lines: ["[" * 100_000], "expected JSON of at most 100 levels"),
        (lambda lines: ["no json"], "not a valid JSON text"),
        (lambda lines: [lines[0].replace('"seed": 0', '"seed": "0"'), *lines[1:]], "something else in line 1"),
        (lambda lines: [lines[0].replace('"seed"', '"seat"'), *lines[1:]], "something else in line 1"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"seconds": 10.0', '"seconds": "10"')], "something else"),
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence(change, error: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a.jsonl"
    write_record(file, made_up("a", 0, (0.0, 1.0)))
    file.write_text("\n".join(change(file.read_text().splitlines())))
    with pytest.raises(CheckpointError, match=f"expected the record of a run of `textgym compare` in .*{error}"):
        read_record(file)


def test_a_record_stays_small(tmp_path: Path) -> None:
    rewards = tuple(place / 7 for place in range(11))
    write_record(tmp_path / "a.jsonl", made_up("a", 0, rewards))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"run", "point", "sample", "before", "after", "result"}
    assert sum(map(len, lines)) < 4000
