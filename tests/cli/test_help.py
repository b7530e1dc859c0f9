"""The help of every command and agent: whole, as wide as the terminal, and in the words of a shell."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from tests.cli.test_option_names import WITH_AGENTS, parameters
from textgym.cli import app as cli

GROUPS = ["", "reward", "feedback"]
PATHS = [*GROUPS, *WITH_AGENTS]
NAMES = (
    r"(?:env_id|dr_grpo|reinforce_pp|sb3_ppo|maskable_ppo|apo_zero|apo_down|consensus_ppo|decentralized_po|"
    r"carry_recompute)\b"
)
"""Names that are written with an underscore in a shell too."""


def help_of(path: str, columns: int) -> str:
    shown = CliRunner(env={"COLUMNS": str(columns)}).invoke(cli.app, [*path.split(), "--help"])
    assert shown.exit_code == 0
    return shown.stdout


def words(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("path", PATHS)
def test_help_fits_the_terminal_and_leaves_nothing_out(path: str, columns: int) -> None:
    shown = help_of(path, columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert "..." not in re.sub(r"\[(ARGS|ENV_ID\|RUN)\]\.\.\.", "", shown.partition("\n")[2])
    if path not in GROUPS:
        for param in parameters(path):
            assert words(param.help or "") in words(shown), param.name


def test_help_is_as_wide_as_the_terminal() -> None:
    assert max(map(len, help_of("train", 120).splitlines())) > 100


@pytest.mark.parametrize("group", GROUPS)
def test_lists_of_commands_tell_the_whole_first_paragraph(group: str) -> None:
    from tests.cli.test_option_names import ALL

    shown = words(help_of(group, 80))
    for path, command in ALL.items():
        if path.rpartition(" ")[0] == group:
            assert words(path.rpartition(" ")[2] + command.help.split("\n\n")[0]) in shown


@pytest.mark.parametrize("path", WITH_AGENTS)
def test_help_has_no_marks_of_docstrings_and_breaks_no_option(path: str) -> None:
    for columns in (50, 80):
        shown = help_of(path, columns)
        assert not re.search(r"``|:\w+:`|\bNone\b|--[a-z-]+-\n", shown)
        assert not re.search(rf"\b(?!{NAMES})[a-z]+_[a-z_]+\b", shown), path
        assert not re.search(r"\b(trunk|grain|documents?)\b", shown, re.I), path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("train --agent ppo", "KL penalty coefficient."),
        ("rlhf", "KL penalty coefficient."),
        ("train --agent reinforce", "Reference model for the KL penalty: name or folder of a model"),
        ("train --agent ppo", "Target KL (nats per response); enables the adaptive coefficient"),
        ("train", "Parallel environments. Default: 64."),
        ("rlhf", "Parallel environments. Default: 64."),
        ("", "Benchmark against a bare-model baseline"),
        ("reward fit", "Rank of LoRA adapters, which are trained instead of all weights (needs textgym[lora])."),
        ("train", "Maximum response length in tokens; by default that of the task or run."),
        ("evaluate", "by default the task's own. Repeated, rewards add up."),
        ("generate", "Responses per prompt. Default: 3."),
        ("train --agent ppo", "with --scale-rewards, to mean 0 only"),
    ],
)
def test_help_uses_the_terms_of_the_field(path: str, text: str) -> None:
    assert text in " ".join(help_of(path, 80).split())
