"""``textgym compare`` as it is typed, and in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.training import comparison
from textgym.training.comparison import ComparisonSettings, read_comparison

SMALL = ("--eval-prompts", "2", "--curve-prompts", "2", "--curve-points", "2", "--n-envs", "4")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("TextSpell-v0", "expected at least one agent in --agents, got none; name some: ppo,reinforce"),
        ("TextSpell-v0 --agents ppo --budget 5", "expected tokens=N, seconds=N or labels=N as --budget, got '5'."),
        ("TextSpell-v0 --agents ppo --option lr=1", "expected AGENT:NAME=VALUE as --option, got 'lr=1'"),
        ("TextSpell-v0 --agents trpos", "human or 'module:Class' as --agents, got agent 'trpos'."),
        ("TextSpell-v0 --agents ppo --seeds 0", "expected --seeds of at least 1, got 0"),
        ("TextSpell-v0 --agents ppo --total-timesteps 5", "Did you mean '--budget'?"),
        ("--resume nothing", "expected a run folder with a config.json, got 'nothing'"),
        ("--resume nothing --seeds 3", "expected --resume alone, got --seeds too"),
        ("--resume nothing --agents ppo", "expected --resume alone, got --agents too"),
    ],
)
def test_mistakes_are_told_as_they_are_typed(command: str, message: str) -> None:
    shown = CliRunner().invoke(cli.app, ["compare", *command.split()])
    assert shown.exit_code == cli.BAD_INPUT
    assert message in shown.stderr


def test_what_is_typed_becomes_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ComparisonSettings] = []
    monkeypatch.setattr(comparison, "run_comparison", lambda settings, worker: made.append(settings))
    typed = "TextSpell-v0 --difficulty easy --agents a=ppo,random --agent sft --option a:kl-coef=0 --budget labels=30"
    shown = CliRunner().invoke(cli.app, ["compare", *typed.split(), "--seeds", "2", *SMALL])
    assert shown.exit_code == 0, shown.stderr
    (settings,) = made
    assert settings.agents == {"a": "ppo", "random": "random", "sft": "sft"}
    assert settings.options == {"a": {"kl_coef": 0.0}}
    assert settings.choice.task_options == {"difficulty": "easy"}
    assert (settings.budget, settings.seeds, settings.n_envs, settings.curve_points) == ("labels=30", 2, 4, 2)


def test_finished_runs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(comparison, "compare_runs", lambda folders, out: given.append((folders, out)))
    Path("a").mkdir()
    for typed in ("a b", "near=a", "a --out c"):
        shown = CliRunner().invoke(cli.app, ["compare", *typed.split()])
        assert shown.exit_code == 0, shown.stderr
    assert given == [(["a", "b"], None), (["near=a"], None), (["a"], "c")]
    shown = CliRunner().invoke(cli.app, ["compare", "a", "b", "--budget", "tokens=5", "--seeds", "2"])
    assert shown.exit_code == cli.BAD_INPUT
    assert "got --budget, --seeds too: the runs have their settings" in shown.stderr
    shown = CliRunner().invoke(cli.app, ["compare", "nothing", "b"])
    assert shown.exit_code == 0  # the library says what is wrong with them


def test_names_beside_resume_are_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(comparison, "resume_comparison", lambda path, consent, worker: given.append((path, consent)))
    typed = "--resume x --agents slow=my.own:Agent,other:B --reward rewards:fn --option s:script=mine:write"
    shown = CliRunner().invoke(cli.app, ["compare", *typed.split()])
    assert shown.exit_code == 0, shown.stderr
    ((path, consent),) = given
    assert path == "x"
    assert sorted(consent) == ["mine:write", "my.own:Agent", "other:B", "rewards:fn"]


def start(*arguments: str) -> subprocess.Popen[str]:
    code = "from textgym.cli.app import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_of_processes_of_their_own_are_stopped_and_gone_on_with(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a training; then the rest, with memory that is each run's own."""
    typed = (
        "compare",
        "TextSpell-v0",
        "--agents",
        "reinforce,random",
        "--budget",
        "tokens=6000",
        "--seeds",
        "1",
        *SMALL,
    )
    process = start(*typed, "--out", "c")
    log = tmp_path / "c" / "training" / "reinforce-0" / "log.jsonl"
    end = time.monotonic() + 400
    while not (log.is_file() and len(log.read_text().splitlines()) >= 12):
        assert process.poll() is None, process.stderr
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Stopped. Resume with: textgym compare --resume c" in said
    stopped = json.loads(log.read_text().splitlines()[-1])["timesteps"]
    assert 0 < stopped < 6000
    assert not list((tmp_path / "c" / "runs").iterdir())
    process = start("compare", "--resume", "c")
    shown, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert f"Resuming c{os.sep}training{os.sep}reinforce-0 from step-" in shown
    found = read_comparison("c")
    learned, drawn = found.runs_of("reinforce")[0], found.runs_of("random")[0]
    assert learned.spent.tokens == learned.steps >= 6000
    assert learned.memory is not None
    assert drawn.memory is not None
    assert 2**27 < drawn.memory < learned.memory
    assert len(learned.points) >= 3
    assert (tmp_path / "c" / "report.html").stat().st_size > 10_000
    assert "| agent " in shown
    process = start(*typed, "--out", "c")  # the same command finds everything finished
    shown, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert ", 2 runs, 2 of them finished." in shown
