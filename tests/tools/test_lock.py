"""The lock files: complete, exact, for every Python and platform, without torch and without any address."""

from __future__ import annotations

import itertools
import re
import tomllib
from itertools import product
from pathlib import Path

import pytest
from lock import EXTRAS as LOCKED_EXTRAS
from lock import LEFT_OUT, PYTHONS, pins
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {name: lines for name, lines in PROJECT["project"]["optional-dependencies"].items() if name != "wandb"}
"""Nobody who works on textgym needs wandb: a test stands in for it."""
BUILD = PROJECT["build-system"]["requires"]
NAMES = ("requirements.lock", "requirements-dev.lock")
WANTED = {
    NAMES[0]: [*PROJECT["project"]["dependencies"], *BUILD],
    NAMES[1]: [*PROJECT["project"]["dependencies"], *BUILD, *itertools.chain(*EXTRAS.values())],
}
SYSTEMS = [("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64")]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    """Return the lock's entries, each with its hashes."""
    text = "\n".join(line for line in read(name).splitlines() if not line.lstrip().startswith("#"))
    return [block for block in re.split(r"\n(?=\S)", text.strip()) if block]


def requirements(name: str) -> list[Requirement]:
    return [Requirement(block.split(" \\\n")[0]) for block in blocks(name)]


def environment(python: str, system: tuple[str, str, str]) -> dict[str, str]:
    platform, name, machine = system
    return {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": platform,
        "platform_system": name,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
        "extra": "",
    }


def test_every_extra_is_locked_for_developers() -> None:
    assert sorted(LOCKED_EXTRAS) == sorted(EXTRAS)


@pytest.mark.parametrize("name", NAMES)
def test_torch_and_what_only_its_cuda_build_needs_are_left_out(name: str) -> None:
    assert [line for line in pins(read(name)) if LEFT_OUT.match(line)] == []
    assert not re.search(r"^(torch|nvidia|triton|cuda)", read(name), re.MULTILINE)


def test_left_out_is_torch_itself_and_cuda_and_nothing_that_is_called_alike() -> None:
    out = ["torch", "nvidia-cublas", "nvidia-cudnn-cu13", "cuda-toolkit", "triton"]
    assert [name for name in [*out, "torchmetrics", "tritonclient", "numpy"] if LEFT_OUT.match(name)] == out


def test_pins_are_read_with_and_without_hashes_and_markers() -> None:
    plain = "a==1.0\n    # via b\nidna==3.20\nnumpy==2.4 ; python_full_version < '3.12'\nnumpy==2.5\n"
    hashed = "a==1.0 \\\n    --hash=sha256:0\nidna==3.20 \\\n    --hash=sha256:1\nnumpy==2.4 ; x \\\n"
    assert pins(plain) == pins(hashed) == {"a": "1.0", "idna": "3.20", "numpy": "2.4"}


@pytest.mark.parametrize("name", NAMES)
def test_no_address_of_a_registry_and_no_path_stands_in_it(name: str) -> None:
    assert re.findall(r"://|--(?:extra-)?index|--find-links|file:|[ =/]/\w+", read(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_one_version_with_hashes(name: str) -> None:
    assert len(blocks(name)) > 60
    for block in blocks(name):
        head, *hashes = block.split(" \\\n")
        assert re.match(r"[a-z0-9-]+==[^ ,*]+( ; .+)?$", head), head
        assert hashes, head
        assert all(re.match(r"    --hash=sha256:[0-9a-f]{64}$", line) for line in hashes), head


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_locked_once_within_its_bounds(name: str, python: str) -> None:
    locked = requirements(name)
    for system in SYSTEMS:
        there = [entry for entry in locked if entry.marker is None or _holds(entry.marker, python, system)]
        assert len({entry.name for entry in there}) == len(there)
        versions = {entry.name: next(iter(entry.specifier)).version for entry in there}
        for line in WANTED[name]:
            wanted = Requirement(line)
            here = wanted.marker is None or _holds(wanted.marker, python, system)
            if wanted.name != "torch" and here:
                assert versions[canonicalize_name(wanted.name)] in wanted.specifier, (line, python, system)


def _holds(marker: Marker, python: str, system: tuple[str, str, str]) -> bool:
    return marker.evaluate(environment(python, system))


def test_the_developer_tools_change_no_version_of_what_running_takes() -> None:
    small, large = pins(read(NAMES[0])), pins(read(NAMES[1]))
    assert {name: large.get(name) for name in small} == small
    for python, system in product(PYTHONS, SYSTEMS):
        chosen = [
            {
                (entry.name, str(entry.specifier))
                for entry in requirements(name)
                if entry.marker is None or _holds(entry.marker, python, system)
            }
            for name in NAMES
        ]
        assert chosen[0] - chosen[1] == set()


def test_the_makefile_pins_a_torch_within_the_bounds() -> None:
    (version,) = re.findall(r"^TESTED_TORCH := torch==(\S+)$", MAKEFILE, re.MULTILINE)
    (wanted,) = [line for line in PROJECT["project"]["dependencies"] if Requirement(line).name == "torch"]
    assert version in Requirement(wanted).specifier


def test_every_dependency_has_a_lower_bound_and_an_upper_one_only_with_a_reason() -> None:
    written = re.findall(r'^    "(\w[^"]*)",(.*)$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    remarks = {line: remark.strip() for line, remark in written}
    for line in {line for lines in (*WANTED.values(), *EXTRAS.values()) for line in lines} - {*BUILD}:
        operators = {part.operator for part in Requirement(line).specifier}
        assert ">=" in operators, line
        assert operators == {">="} or remarks.get(line, "").startswith("#"), f"say in a comment why: {line}"
