"""``textgym doctor``: what is there, what is missing, and whether a model takes the fast paths."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.cli import doctor
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model
from textgym.models.prompt_format import PromptFormat, write_format

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

SetVersion = Callable[[str, str | None], None]


@pytest.fixture
def set_version(monkeypatch: pytest.MonkeyPatch) -> SetVersion:
    """Let one package seem to be of another version, or missing."""
    real = metadata.version

    def pretend(name: str, version: str | None) -> None:
        def look_up(asked: str) -> str:
            if asked == name and version is None:
                raise metadata.PackageNotFoundError(asked)
            return str(version) if asked == name else real(asked)

        monkeypatch.setattr(metadata, "version", look_up)

    return pretend


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["doctor", *arguments], env={"COLUMNS": "200"})


def test_all_is_well_with_what_was_installed() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "No problems found."
    assert "Cached decoding of texts of 560 tokens is on" in shown.stdout
    assert metadata.version("transformers") in shown.stdout


@pytest.mark.slow
def test_all_is_well_on_a_terminal_that_shows_ascii_only() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    shown = subprocess.run(
        [sys.executable, "-P", "-c", "from textgym.cli.app import main; main()", "doctor"],
        env=plain | {"LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        encoding="ascii",
    )
    assert shown.returncode == 0
    assert "Encoding: output ascii" in shown.stdout
    assert "export PYTHONUTF8=1" in shown.stderr


def test_a_package_that_is_missing_is_named_with_its_command(set_version: SetVersion) -> None:
    set_version("gymnasium", None)
    shown = run()
    assert shown.exit_code == 1
    assert "expected gymnasium >= 1.4, got none; pip install 'gymnasium>=1.4'" in shown.stderr


def test_a_package_that_is_too_old_is_missing_too(set_version: SetVersion) -> None:
    set_version("transformers", "5.9.2")
    shown = run()
    assert shown.exit_code == 1
    assert "expected transformers >= 5.17, got 5.9.2; pip install" in shown.stderr


def test_without_an_optional_package_all_is_well(set_version: SetVersion) -> None:
    set_version("peft", None)
    shown = run()
    assert shown.exit_code == 0
    assert "missing: pip install 'textgym[lora]'" in shown.stdout


def test_without_torch_the_rest_is_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    problems = doctor._report_machine()
    assert len(problems) == 1
    assert "expected torch to be importable" in problems[0]


def test_a_model_that_does_not_load_is_a_problem() -> None:
    shown = run("--model", "./nothing")
    assert shown.exit_code == 1
    assert "./nothing does not load" in shown.stderr
    assert "Cached decoding of texts of 560 tokens is on" in shown.stdout  # the shipped one does


def test_a_model_that_says_its_budgets_is_reported_for_texts_of_that_length(lm: str, tmp_path: Path) -> None:
    shutil.copytree(lm, tmp_path / "model")
    asked = PromptFormat(
        task="TextGen-v0", prompt_template="{prompt}", chat_prompt_template="{prompt}", uses_chat_template=False,
        max_prompt_tokens=40, max_new_tokens=24,
    )  # fmt: skip
    write_format(tmp_path / "model", asked)
    assert "Cached decoding of texts of 64 tokens is on" in run("--model", str(tmp_path / "model")).stdout


def test_warnings_of_a_model_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(name: str, device: str) -> CausalLM:
        warnings.warn("ModelX is not continued from keys and values: it counts a window", stacklevel=1)
        return load_language_model(name)

    monkeypatch.setattr("textgym.evaluation.loading.load_model", load_model)
    shown = run()
    assert shown.exit_code == 0
    assert "Warning: ModelX is not continued from keys and values: it counts a window" in shown.stderr


def test_requirements_are_those_of_the_project_and_of_what_users_can_need() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [(line, "") for line in PROJECT["dependencies"]]
    shown = [extra for extra in extras if extra not in ("dev", "docs", "sb3-contrib")]
    lines += [(line, extra) for extra in shown for line in extras[extra]]
    found = doctor.requirements()
    assert [(each.name, each.extra) for each in found] == [(line.split(">=")[0], extra) for line, extra in lines]


def test_a_requirement_is_read_from_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2.0", "huggingface-hub>=1.5", 'peft>=0.18; extra == "lora"', 'ruff>=0.12; extra == "dev"']
    lines.append('sb3-contrib>=2.9; extra == "sb3-contrib"')  # the second name of an extra is listed once
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert doctor.requirements() == [("numpy", "2.0", ""), ("huggingface-hub", "1.5", ""), ("peft", "0.18", "lora")]


@pytest.mark.parametrize(
    ("version", "is_enough"),
    [("5.17", True), ("5.17.0", True), ("5.24.0", True), ("6.0", True), ("5.9.9", False), ("5.16.2+cpu", False)],
)
def test_versions_are_compared_as_numbers(version: str, is_enough: bool, set_version: SetVersion) -> None:
    set_version("transformers", version)
    assert (doctor.examine(doctor.Requirement("transformers", "5.17", "")).command == "") == is_enough


def test_decoding_with_a_cache_reads_every_token_once() -> None:
    model = load_language_model("tiny")
    assert doctor.tokens_read(model, prompt_tokens=48, new_tokens=16) == 48 + 15  # nothing follows the last token
    assert model.can_be_recorded
    assert not model.network.get_input_embeddings()._forward_pre_hooks


def test_decoding_without_a_cache_reads_the_whole_text_for_every_token() -> None:
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=None, eos_token_id=1
    )
    model = CausalLM(MambaForCausalLM(config))
    assert doctor.tokens_read(model, prompt_tokens=48, new_tokens=16) == sum(range(48, 64))
