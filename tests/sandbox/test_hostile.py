"""Hostile programs: none passes a test, none leaves anything behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.sandbox.hostile_programs import MARK, PROGRAMS, QUICK, SOLUTION, SUITES, shares_passed
from textgym.sandbox import Sandbox, run_many

FOLDERS = (Path.cwd(), *map(Path, ("/", "/tmp", "/var/tmp", "/dev/shm", "/root", "/guest")))


def traces() -> list[str]:
    """What a program may have left: marked files, and processes that belong to nobody."""
    files = [str(path) for folder in FOLDERS if os.access(folder, os.R_OK) for path in folder.glob(f"*{MARK}*")]
    return files + [line for line in running() if "textgym.sandbox.guest" in line or MARK in line]


def running() -> list[str]:
    """The command lines of all processes that can be seen."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(encoding="utf-8", errors="replace").replace("\0", " "))
        except OSError:
            continue
    return lines


@pytest.mark.parametrize("kind", SUITES)
def test_the_right_program_passes_every_test(sandbox: Sandbox, kind: str) -> None:
    if kind == "a map" and sandbox.level == "monty":
        pytest.skip("Monty's map cannot call a function that lives elsewhere")
    (outcomes,) = run_many([(SOLUTION, SUITES[kind])], sandbox=sandbox)
    assert [outcome for outcome in outcomes if not outcome.passed] == []


def test_one_hostile_program_of_each_kind_scores_0(sandbox: Sandbox) -> None:
    shares = shares_passed(sandbox, QUICK, ["tests one by one"])
    assert {name: share for name, share in shares.items() if share} == {}


@pytest.mark.slow
def test_all_hostile_programs_score_0_and_leave_nothing(sandbox: Sandbox) -> None:
    threads = threading.active_count()
    shares = shares_passed(sandbox, PROGRAMS)
    print(f"{sandbox.level}: {sum(share == 0 for share in shares.values())} of {len(shares)} hostile programs score 0")
    assert len(shares) >= 40
    assert {name: share for name, share in shares.items() if share} == {}
    assert run_many([(SOLUTION, SUITES["a whole check"])], sandbox=sandbox)[0][0].passed  # still at work
    sandbox.close()
    assert traces() == []
    assert threading.active_count() == threads
