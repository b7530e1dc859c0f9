"""What a shell completes: commands and options, and names of what is installed and lies in folders."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textgym.agents.registry import AGENTS
from textgym.cli import app as cli
from textgym.cli import completion
from textgym.registration import registered_ids


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/first", "runs/second", "rums", "elsewhere/deep"):
        Path(name).mkdir(parents=True)
    Path("runs/file").write_text("")


def completed(typed: str) -> list[str]:
    """What bash gets for a line whose last word is to be completed."""
    words = typed.split(" ")
    asked = {"_TEXTGYM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    shown = CliRunner(env=asked).invoke(cli.app, [], prog_name="textgym")
    return shown.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("textgym tra", ["train"]),
        ("textgym reward ", ["fit"]),
        ("textgym train TextSp", ["TextSpell-v0", "TextSpellEpisode-v0"]),
        ("textgym train --agent q", ["q_learning"]),
        ("textgym train TextSpell-v0 --agent reinforce_", ["reinforce_pp"]),
        ("textgym evaluate --model runs/f", ["runs/first"]),
        ("textgym evaluate --agent run", ["runs"]),
        ("textgym generate --model lett", ["letters"]),
        ("textgym show runs/", ["runs/first", "runs/second"]),
        ("textgym show ", ["runs/first", "runs/second"]),
        ("textgym runs else", ["elsewhere"]),
        ("textgym train --resume runs/s", ["runs/second"]),
        ("textgym train --reward gol", ["gold"]),
        ("textgym compare runs/first runs/s", ["runs/second"]),
        ("textgym compare near=runs/f", ["near=runs/first"]),
        ("textgym evaluate --split v", ["validation"]),
        ("textgym train --agent ppo --kl-c", ["--kl-coef"]),
        ("textgym train --group-s", []),
        ("textgym train --agent grpo --group-s", ["--group-size"]),
        ("textgym train --agent nonsense --ste", ["--steps"]),
        ("textgym evaluate --agent best_of_n --pr", ["--prompt-column", "--prompt-template", "--prompts"]),
        ("textgym train nonsense", []),
    ],
)
def test_names_are_completed(typed: str, offered: list[str]) -> None:
    assert completed(typed) == offered


def test_all_that_is_there_is_offered() -> None:
    assert completion.env_ids("") == list(registered_ids())
    assert completion.agents("") == list(AGENTS)
    assert completion.agents("ppo,reinf") == ["ppo,reinforce", "ppo,reinforce_pp"]
    assert completion.runs("nothing/") == []
    assert completion.runs("ru") == ["rums", "runs"]
    assert completion.runs(str(Path("elsewhere").absolute()) + "/d") == [str(Path("elsewhere/deep").absolute())]


def test_the_script_for_a_shell_is_shown() -> None:
    code = "from textgym.cli.app import main; main()"
    asked = shlex.join([sys.executable, "-P", "-c", code, "--show-completion"])
    in_bash = ["bash", "-c", f"{asked}; true"]  # which shell it is, is found out from the process that asks
    shown = subprocess.run(in_bash, capture_output=True, text=True, check=True).stdout
    assert "_TEXTGYM_COMPLETE=complete_bash" in shown


def test_completion_of_names_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom textgym.cli import completion as c\n"
        "c.agents(''), c.models(''), c.runs(''), c.splits('')\n"
        "print(*sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout.split() == []
