"""Runs of agents that learn from feedback, resumed with what they began with; best-of-n and expert iteration too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from textgym.agents.dpo import DPO
from textgym.cli import app as cli
from textgym.feedback import write_records
from textgym.feedback.types import Comparison
from textgym.training.run_folder import RunFolder
from textgym.training.train import run_resume

SMALL = "--max-prompt-tokens 64 --max-new-tokens 6 --eval-prompts 2"


def run(command: str) -> str:
    shown = CliRunner().invoke(cli.app, command.split())
    assert shown.exit_code == 0, shown.stderr
    return " ".join(shown.stdout.split())


@pytest.fixture
def votes() -> Path:
    """Feedback about documents of the data, as a file in the working directory."""
    records = [
        Comparison(
            f"{number}",
            f"On day {number} the harbour opened. Nobody asked why.\n\nSummary:",
            response_a=f"The harbour opened on day {number}.",
            response_b="Nobody asked.",
            choice="a" if number % 4 else "b",
        )
        for number in range(20)
    ]
    write_records("votes.jsonl", records)
    return Path("votes.jsonl")


@pytest.fixture
def command(lm: str, data: str, votes: Path) -> Callable[[str, str], str]:
    def make(agent: str, out: str) -> str:
        columns = f"--data {data} --prompt-column doc --reference-column sum --reward rouge"
        return (
            f"train TextSumm-v0 --agent {agent} --feedback {votes} --model {lm} {columns} {SMALL} --steps 6 "
            f"--batch-size 4 --log-every 2 --save-every 2 --out {out}"
        )

    return make


@pytest.mark.parametrize("agent", ["dpo", "kto"])
def test_a_run_learns_from_a_file(agent: str, command: Any) -> None:
    shown = run(command(agent, "r"))
    assert "Read as: records of textgym, 20 comparisons" in shown
    assert "6 steps, with 2 held-out prompts before and after" in shown
    assert "Held-out preference accuracy: 0.500 ->" in shown
    folder = RunFolder("r")
    summary = folder.summary()
    assert summary["preference_accuracy"].keys() == summary["preference_loss"].keys() == {"before", "after"}
    assert {"before", "after", "difference"} <= summary.keys()
    assert folder.config()["settings"]["options"]["feedback"] == str(Path("votes.jsonl").absolute())
    assert [row["timesteps"] for row in folder.log()] == [2, 4, 6]
    assert {"learning_curve.png", "curves.png"} <= {path.name for path in Path("r").iterdir()}
    card = (folder.model / "README.md").read_text()
    assert "held-out preference accuracy, ties count half" in card
    method = {"dpo": "Direct Preference Optimization, 6 steps", "kto": "Kahneman-Tversky optimization, 6 steps"}
    assert method[agent] in card


def test_an_interrupted_run_goes_on_with_the_feedback_it_began_with(
    command: Any, votes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(command("dpo", "whole"))
    advance = DPO.advance

    def interrupted(self: DPO) -> float:
        if self.num_timesteps == 5:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(DPO, "advance", interrupted)
        shown = CliRunner().invoke(cli.app, command("dpo", "cut").split())
        assert "textgym train --resume cut" in shown.stderr
    votes.write_text("".join(votes.read_text().splitlines(keepends=True)[:-1]))
    again = run_resume("cut")
    said = " ".join(capsys.readouterr().err.split())
    assert f"the feedback in '{votes.absolute()}' has changed since the run began" in said
    whole = RunFolder("whole")
    first, second = (load_file(each.model / "model.safetensors") for each in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("preference_accuracy", "preference_loss", "before", "after"):
        assert again.summary()[name] == whole.summary()[name]


def test_without_feedback_the_reward_of_the_run_compares(lm: str) -> None:
    shown = run(
        f"train TextSumm-v0 --agent simpo --labels 12 --model {lm} --reward length {SMALL} --steps 2 --batch-size 2 "
        "--out r"
    )
    assert "SimPO: " in shown
    assert json.loads(Path("r/config.json").read_text())["settings"]["options"] == {"labels": 12, "batch_size": 2}


def test_mistakes_leave_no_folder(lm: str) -> None:
    for options, words in (
        ("--feedback nothing.jsonl", "nothing.jsonl"),
        ("--loss-type exo", "expected --label-smoothing above 0 with --loss-type exo"),
        ("--held-out 1", "expected --held-out of at most 0.9"),
        ("--beta 0", "expected --beta above 0"),
    ):
        shown = CliRunner().invoke(cli.app, f"train --agent dpo --model {lm} {SMALL} --out r {options}".split())
        assert shown.exit_code == 2, shown.stdout
        assert words in " ".join(shown.stderr.split())
        assert not Path("r").exists()


def test_best_of_n_is_evaluated_with_the_budgets_of_the_run(lm: str) -> None:
    shown = run(f"train TextSumm-v0 --agent best_of_n --n 3 --model {lm} --reward length {SMALL} --out r")
    assert "BestOfN has nothing to train: it is evaluated on 2 prompts" in shown
    assert json.loads(Path("r/agent/agent.json").read_text())["settings"] == {
        "n": 3, "temperature": 1.0, "max_prompt_tokens": 64, "max_new_tokens": 6, "stop": [],
        "around": ["", "\n\nSummary:"] * 2, "reward": "length",
    }  # fmt: skip
    texts = [json.loads(line)["text"] for line in Path("r/texts-after.jsonl").read_text().splitlines()]
    assert len(texts) == 2
    run("evaluate TextSumm-v0 --agent r --reward length --prompts 2 --out e")


def test_expert_iteration_is_a_run_of_tokens(lm: str) -> None:
    shown = run(
        f"train TextSumm-v0 --agent expert_iteration --n 3 --prompts 2 --batch-size 2 --model {lm} --reward length "
        f"{SMALL} --steps 72 --save-every 1 --out r"
    )
    assert "2 iterations of 36 tokens" in shown
    log = RunFolder("r").log()
    assert {"reward", "reward_best", "kept", "length", "loss", "seconds/rollout", "seconds/update"} <= log[0].keys()
    assert log[-1]["timesteps"] >= 72
