"""What an installation must hold. Tests of the checkout are skipped where there is only an installed package."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
START_MODELS = ("tiny", "tiny-reward")
MAX_START_MODEL_BYTES = 6_000_000
MAX_OTHER_BYTES = 20_000_000  # all other assets together

needs_checkout = pytest.mark.skipif(not (ROOT / "textgym").is_dir(), reason="needs the checkout")

HEAVY = ("torch", "transformers", "stable_baselines3", "datasets", "matplotlib", "scipy", "pandas")
IMPORT = f"""
import sys, time
start = time.process_time()
import NAME
print(time.process_time() - start)
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""


@needs_checkout
def test_the_package_list_is_complete() -> None:
    found = set()
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join((package, *path.parent.relative_to(ROOT / folder).parts)))
    assert sorted(PACKAGES) == sorted(found)


@needs_checkout
def test_benchmarks_and_tools_are_no_part_of_the_wheel() -> None:
    assert [name for name in (*PACKAGES, *FOLDERS) if not f"{name}.".startswith("textgym.")] == []
    assert "textgym.build_assets" not in PACKAGES
    assert not (ROOT / "textgym" / "build_assets.py").exists()


@needs_checkout
def test_every_source_file_lies_in_a_package() -> None:
    homes = [path.parent for folder in FOLDERS.values() for path in (ROOT / folder).rglob("*.py")]
    assert [str(home) for home in homes if not (home / "__init__.py").is_file()] == []


@needs_checkout
def test_paths_are_plain_ascii() -> None:
    folders = [*FOLDERS.values(), "tests", "examples", "docs", "benchmarks"]
    paths = [str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*")]
    assert [path for path in paths if not path.isascii() or " " in path] == []


@needs_checkout
def test_the_links_for_the_type_checker_lead_home() -> None:
    for name in ("agents", "reward_models"):
        assert (ROOT / ".typings" / "textgym" / name).resolve() == ROOT / name


@pytest.mark.parametrize("name", PACKAGES)
def test_every_listed_package_is_installed(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


def test_the_package_says_that_it_is_typed() -> None:
    assert (resources.files("textgym") / "py.typed").is_file()


def test_assets_are_installed_and_small() -> None:
    folder = Path(str(resources.files("textgym.assets")))
    sizes = {
        part.name: sum(path.stat().st_size for path in part.rglob("*") if path.is_file()) for part in folder.iterdir()
    }
    assert all((folder / name / "model.safetensors").is_file() for name in START_MODELS)
    assert all(sizes.pop(name) < MAX_START_MODEL_BYTES for name in START_MODELS)
    assert sum(sizes.values()) < MAX_OTHER_BYTES


@pytest.mark.parametrize("name", ["templates/compare.html", "static/page.css", "static/vote.js", "static/icon.svg"])
def test_the_feedback_page_is_installed(name: str) -> None:
    assert (resources.files("textgym.feedback.server") / name).is_file()


@needs_checkout
@pytest.mark.parametrize("package", ["textgym.assets", "textgym.feedback.server"])
def test_every_data_file_matches_a_pattern_of_the_wheel(package: str) -> None:
    folder = ROOT / package.replace(".", "/")
    patterns = PROJECT["tool"]["setuptools"]["package-data"][package]
    shipped = {path for pattern in patterns for path in folder.glob(pattern)}
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - shipped == set()


def test_the_console_script_points_at_a_function() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="textgym")
    assert callable(entry.load())


def test_the_version_is_the_one_of_the_project() -> None:
    assert metadata.version("textgym") == PROJECT["project"]["version"]


@pytest.mark.parametrize("name", ["textgym", "textgym.agents", "textgym.reward_models", "textgym.feedback"])
def test_import_is_quick_and_light(name: str) -> None:
    code = IMPORT.replace("NAME", name)
    runs = [subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert [run.stderr for run in runs if run.returncode] == []
    assert min(float(run.stdout.split()[0]) for run in runs) < 2.0
    assert {tuple(run.stdout.split()[1:]) for run in runs} == {()}


@pytest.mark.parametrize("name", ["textgym.agents", "textgym.reward_models", "textgym.feedback"])
def test_every_public_name_of_a_package_that_loads_parts_late_is_there(name: str) -> None:
    package = importlib.import_module(name)
    assert all(getattr(package, each) is not None for each in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert sorted(each for part in package._PARTS.values() for each in part) == sorted(package.__all__)
