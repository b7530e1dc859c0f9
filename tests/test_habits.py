"""What watches over changes agrees with itself: the gate, the hooks before a commit, and the public CI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from lock import PYTHONS

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="needs the checkout")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def commands() -> list[str]:
    """Every command of hooks and workflow."""
    hooks = [hook["entry"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    jobs = read(".github/workflows/ci.yml")["jobs"].values()
    return hooks + [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_every_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {match for command in commands() for match in re.findall(r"\bmake ([a-z]+)", command)}
    assert {"check", "lint", "types", "test"} <= called <= targets


def test_every_test_and_script_that_is_named_exists() -> None:
    named = {path for command in commands() for path in re.findall(r"(?:tests|\.ci)/[\w./]+", command)}
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_oldest_and_the_newest_python_are_tried() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert jobs["check"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert {row["resolution"] for row in jobs["dependencies"]["strategy"]["matrix"]["include"]} == {
        "lowest-direct",
        "highest",
    }


def test_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra for command in commands() for each in re.findall(r"\.\[([a-z,]+)\]", command) for extra in each.split(",")
    }
    assert "dev" in named
    assert named <= project["optional-dependencies"].keys()


def test_a_workflow_can_only_read() -> None:
    assert read(".github/workflows/ci.yml")["permissions"] == {"contents": "read"}
