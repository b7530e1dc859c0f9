"""A run says how many prompts it cuts, once, and draws no random number for it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.chat_templates import CHATML, write_chat_folder
from textgym.cli import app as cli
from textgym.envs.choice import with_budgets
from textgym.tasks.base import TextTask
from textgym.text.tokenizer import Tokenizer
from textgym.training.from_run import say_cut_prompts
from textgym.types import Example

CUT = "prompts are cut to"
SHORT = ("--n-envs", "2", "--n-steps", "4", "--batch-size", "8", "--max-new-tokens", "4", "--eval-prompts", "3")


class Rolling(TextTask):
    """A task whose prompts are drawn from the global generators, as one of a user's may be."""

    max_prompt_tokens = 20

    def prompt(self, example: Example) -> str:
        random.random(), np.random.rand(), torch.rand(1)
        return example.text


def asked(words: int) -> list[dict[str, str]]:
    return [{"prompt": f"{n} " + "word " * (words if n % 4 == 0 else 3)} for n in range(8)]


def test_prompts_that_fit_are_no_remark(capsys: pytest.CaptureFixture[str]) -> None:
    task = TextTask(asked(5))
    capsys.readouterr()
    say_cut_prompts(task, Tokenizer.load("tiny"))
    assert capsys.readouterr() == ("", "")


def test_the_share_of_cut_prompts_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = with_budgets(TextTask(asked(200)), 20, None)
    capsys.readouterr()
    say_cut_prompts(task, Tokenizer.load("tiny"))
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "2 of 7 prompts are cut to max_prompt_tokens=20: the model does not read the rest; raise it to keep them whole."
    )
    say_cut_prompts(task, Tokenizer.load(write_chat_folder(tmp_path / "chat", CHATML, "byte")))
    assert "cut to max_prompt_tokens=20, the chat template around them included:" in capsys.readouterr().err
    say_cut_prompts(task, Tokenizer.load("tiny"), [task.dataset[1]])
    assert capsys.readouterr().err == ""


def test_no_random_number_is_drawn() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    say_cut_prompts(Rolling(asked(200)), Tokenizer.load("tiny"))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_commands_say_it_once(lm: str) -> None:
    rows = [{"prompt": f"Ticket {n}: " + "word " * 200} for n in range(60)]
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    budget = ("--max-prompt-tokens", "24")
    for arguments in (
        ("train", "TextGen-v0", "--data", "long.jsonl", "--model", lm, *budget, "--steps", "8", "--out", "r", *SHORT),
        ("evaluate", "--model", "r", "--prompts", "2", "--out", "e"),
        ("generate", "TextGen-v0", "--data", "long.jsonl", "--model", lm, *budget, "--prompts", "2", "--n", "3"),
    ):
        shown = CliRunner().invoke(cli.app, list(arguments))
        assert shown.exit_code == 0, shown.stderr
        assert shown.stderr.count(f"{CUT} --max-prompt-tokens 24") == 1
    assert "2 of 2 prompts" in shown.stderr  # documents, not texts
