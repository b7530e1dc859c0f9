"""Commands that are run in a folder of downloads, where files are called like modules."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from textgym.cli import app as cli
from textgym.security import consent

OPTIONAL = ("IPython", "apex", "bitsandbytes", "flash_attn", "jax", "kernels", "sitecustomize", "tensorflow", "triton")
ARGUMENTS = {
    "envs": [],
    "demo": ["--model", "./nothing"],
    "sft": ["--model", "./nothing"],
    "reward fit": ["--model", "./nothing"],
    "train": ["--model", "./nothing"],
    "rlhf": ["--model", "./nothing"],
    "compare": ["TextSpell-v0", "--agents", "random,scripted", "--seeds", "1", "--eval-prompts", "2"],
    "evaluate": ["--model", "./nothing"],
    "score": ["votes.jsonl", "TextSumm-v0", "--reward", "rouge"],
    "bench": ["env", "--smoke", "--repetitions", "1"],
    "generate": ["--text", "x", "--n", "1", "--max-new-tokens", "2"],
    "play": ["--episodes", "1"],
    "feedback serve": ["project.db", "--port", "-1"],
    "feedback sample": ["project.db", "--model", "./nothing"],
    "runs": [],
    "show": ["./nothing"],
    "doctor": [],
    "feedback simulate": ["missing.db"],
    "feedback export": ["missing.db", "x.jsonl"],
    "feedback import": ["project.db", "votes.jsonl"],
    "feedback status": ["missing.db"],
    "feedback people": ["missing.db"],
    "feedback exclude": ["missing.db", "ann"],
    "feedback include": ["missing.db", "ann"],
    "feedback block": ["missing.db", "ann"],
    "feedback unblock": ["missing.db", "ann"],
    "feedback void": ["missing.db", "ann"],
}
"""How each command is run, so that it comes as far as it can in seconds: most stop at a model that is not there."""


def commands(group: object = None, prefix: str = "") -> list[str]:
    group = typer.main.get_command(cli.app) if group is None else group
    found = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found += commands(command, f"{prefix}{name} ") if hasattr(command, "commands") else [f"{prefix}{name}"]
    return found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for every module that is installed, and some that could be."""
    folder = tmp_path_factory.mktemp("downloads")
    installed = {name.partition("/")[0] for name in importlib.metadata.packages_distributions()}
    for name in installed | set(sys.stdlib_module_names) | set(OPTIONAL):
        if name.isidentifier() and name != "textgym":
            (folder / f"{name}.py").write_text(f"open({str(folder / 'run-code')!r}, 'a').write({name + ' '!r})\n")
    (folder / "matplotlibrc").write_text(
        f"backend: module://scipy\naxes.prop_cycle: cycler(color=[open({str(folder / 'run-code')!r}, 'a')])\n"
    )
    (folder / "votes.jsonl").write_text("{}\n")
    return folder


def run_in(folder: Path, *arguments: str, module_path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as its script does: the first place of the module path is where the script is."""
    scripts = folder.parent / "bin"
    scripts.mkdir(exist_ok=True)
    (scripts / "start.py").write_text("from textgym.cli.app import main\nmain()\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    environment |= {} if module_path is None else {"PYTHONPATH": module_path}
    return subprocess.run(
        [sys.executable, str(scripts / "start.py"), *arguments],
        cwd=folder,
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=250,
    )


def test_every_command_is_tried() -> None:
    assert sorted(commands()) == sorted(ARGUMENTS)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ARGUMENTS if name != "envs"]


@pytest.mark.parametrize("command", ["envs", *SLOW])
def test_no_file_of_the_folder_is_run(command: str, downloads: Path) -> None:
    shown = run_in(downloads, *command.split(), *ARGUMENTS[command])
    assert not (downloads / "run-code").exists(), (downloads / "run-code").read_text()
    assert "Traceback" not in shown.stderr
    assert command != "envs" or "TextSumm-v0" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("module_path", "is_run"), [(":/nowhere", False), ("/nowhere:", False), (":.", True)])
def test_an_empty_entry_of_the_module_path_is_nobodys_word(module_path: str, is_run: bool, tmp_path: Path) -> None:
    """Python reads it as the current folder; ``PYTHONPATH=$PYTHONPATH:/some/place`` makes one."""
    (tmp_path / "here").mkdir()
    for name in ("scipy", "torch", "transformers", "pandas", "rouge_score"):
        (tmp_path / "here" / f"{name}.py").write_text("open('run-code', 'w').close()\n")
    shown = run_in(tmp_path / "here", "train", "--model", "./nothing", module_path=module_path)
    assert (tmp_path / "here" / "run-code").exists() == is_run
    assert is_run or "got './nothing', which does not exist" in shown.stderr, shown.stderr


def test_nothing_that_is_installed_brings_a_module_of_the_folder_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "an_optional_agent.py").write_text(
        "try:\n    import a_missing_extra\n    FOUND = True\nexcept ImportError:\n    FOUND = False\n"
    )
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a_missing_extra.py").write_text("")
    (tmp_path / "here" / "an_own_agent.py").write_text("import a_missing_extra\nNAME = 'own'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.setattr(consent, "_user_folders", [tmp_path / "here"])
    assert consent.load_attribute("an_optional_agent:FOUND") is False
    assert consent.load_attribute("an_own_agent:NAME") == "own"


@pytest.mark.slow
def test_a_module_that_the_user_names_is_found_and_brings_nothing_along(downloads: Path) -> None:
    mark = downloads / "mine.mark"
    source = f"import scipy, json\nopen({str(mark)!r}, 'w').close()\n"
    (downloads / "my_own_envs.py").write_text(source)
    shown = run_in(downloads, "train", "my_own_envs:Nothing-v0")
    assert mark.exists()
    assert "expected the id of a text environment" in shown.stderr
    assert not (downloads / "run-code").exists()
