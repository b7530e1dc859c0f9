"""The command line: help, versions, suggestions and exit codes. What commands do is tested beside their modules."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
from typer.testing import CliRunner, Result

import textgym
from textgym import console
from textgym.cli import app as cli
from textgym.types import Interval

COMMANDS = (
    "envs",
    "demo",
    "sft",
    "train",
    "rlhf",
    "evaluate",
    "score",
    "generate",
    "play",
    "reward",
    "bench",
    "runs",
    "show",
    "doctor",
)


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), input=text)


def in_shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from textgym.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_help_names_every_command() -> None:
    shown = in_shell("--help")
    assert shown.returncode == 0
    assert all(f"\n  {name} " in shown.stdout for name in COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "matplotlib", "datasets"}
    code = f"import sys, textgym.cli.app; print(*sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


@pytest.mark.parametrize("command", [*COMMANDS, "reward fit"])
def test_every_command_has_help_at_80_columns(command: str) -> None:
    shown = run(*command.split(), "--help")
    assert shown.exit_code == 0
    assert "Usage:" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [("show",), ("runs",), ("generate", "a prompt", "--model")])
def test_a_name_that_no_file_can_have(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "x" * 300)
    assert result.exit_code == 2
    assert "no name has more than 255, got " in (said := " ".join(result.stderr.split()))
    assert f"a name of 300: '{'x' * 40}'...; give a shorter one" in said
    assert len(said) < 300


def test_version() -> None:
    assert run("--version").stdout == f"textgym {textgym.__version__}\n"
    assert in_shell("--version").returncode == 0
    as_module = subprocess.run([sys.executable, "-m", "textgym", "--version"], capture_output=True, text=True)
    assert as_module.stdout == f"textgym {textgym.__version__}\n", as_module.stderr


def test_no_command_shows_help() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert "Commands:" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "--step", "3"], "Did you mean '--steps'?"),
        (["train", "--steps", "three"], "--steps"),
        (["train", "TextSum-v0"], "Did you mean 'TextSumm-v0'?"),
        (["train", "TextSummEpisode-v0"], "use 'TextSumm-v0'"),
        (["train", "no_such_module:X-v0"], "there is no module 'no_such_module'"),
        (["evaluate", "--data", "report"], "Did you mean 'reports'?"),
        (["evaluate", "--data", "missing.jsonl"], "expected an existing file"),
        (["evaluate", "--reward", "rogue"], "Did you mean 'rouge'?"),
        (["evaluate", "--reward", "textgym.metrics.rouge:rouge3"], "Did you mean 'rouge"),
        (["evaluate", "--split", "tset"], "Did you mean 'test'?"),
        (["evaluate", "--prompts", "0", "--reward", "gold"], "expected --prompts of at least 1"),
        (["train", "--steps", "0"], "expected --steps of at least 1"),
        (["train", "--lr", "0"], "--lr above 0"),
        (["train", "--resume", "no-such-run"], "expected a run folder"),
        (["train", "--resume", "x", "--lr", "1"], "expected --resume alone, got --lr"),
        (["train", "TextSumm-v0", "--resume", "x"], "got ENV_ID"),
        (["generate", "TextSum-v0"], "Did you mean 'TextSumm-v0'?"),
        (["generate", "a text", "--text", "another"], "expected one prompt"),
        (["generate", "--text", "x", "--model", "./nothing"], "which does not exist"),
        (["generate", "--text", "x", "--n", "0"], "expected --n of at least 1"),
        (["reward", "fit", "--annotator", "golden"], "Did you mean 'gold'?"),
        (["reward", "fit", "--comparisons", "missing.jsonl"], "missing.jsonl"),
        (["evaluate", "--reward", "gold", "--prompts", "1", "--out", "/dev/null/run"], "/dev/null/run"),
        (
            ["evaluate", "--reward", "gold", "--prompts", "1", "--out", "~no-such-user/run"],
            "no home directory for '~no-such-user'",
        ),
        (["train", "--resume", "~no-such-user"], "no home directory for '~no-such-user'"),
        (["train", "--out", "~no-such-user"], "no home directory for '~no-such-user'"),
        (["train", "--reward", "~no-such-user/run"], "no home directory for '~no-such-user'"),
        (["generate", "--text", "x", "--model", "~no-such-user"], "no home directory for '~no-such-user'"),
        (["evaluate", "--data", "~no-such-user/x.jsonl"], "no home directory for '~no-such-user'"),
        (["train", "--lora-rank", "0"], "expected --lora-rank of at least 1"),
        (["play", "TextSumm-v9"], "Did you mean 'TextSumm-v"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    shown = run(*arguments)
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert len([line for line in shown.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert shown.exit_code == cli.BAD_INPUT


def test_debug_shows_the_traceback() -> None:
    shown = run("--debug", "train", "TextSum-v0")
    assert "Traceback" in shown.stderr
    assert shown.exit_code == cli.BAD_INPUT


def test_mistakes_in_a_shell() -> None:
    shown = in_shell("trian")
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr.count("\n") == 1


def test_a_failure_that_is_no_mistake_of_the_user_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FloatingPointError("the loss is NaN")

    monkeypatch.setattr("textgym.cli.environments.run_envs", fail)
    shown = run("envs")
    assert shown.exit_code == cli.FAILED
    assert "FloatingPointError: the loss is NaN" in shown.stderr


def test_foreign_value_errors_are_failures_not_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        int("x")  # raised in this file, which is none of textgym's

    monkeypatch.setattr("textgym.cli.environments.run_envs", fail)
    assert run("envs").exit_code == cli.FAILED


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textgym.cli.environments.run_envs", interrupt)
    shown = run("envs")
    assert shown.exit_code == cli.INTERRUPTED
    assert shown.stderr == "Stopped. Nothing was saved.\n"


ENDINGS = {
    "ends_on_import": "import sys\nsys.exit(0)\n",
    "ends_when_called": "import sys\ndef f(*texts): sys.exit(3)\n",
    "ends_when_made": "import sys\nclass f:\n    def __init__(self): sys.exit(0)\n",
    "closes_when_called": "def f(*texts): raise GeneratorExit\n",
    "panics_when_called": "class Panic(BaseException): pass\ndef f(*texts): raise Panic\n",
}


@pytest.mark.parametrize("command", ["train --n-envs 1", "sft", "evaluate", "play"])
@pytest.mark.parametrize("module", ENDINGS)
def test_a_reward_that_wants_to_end_the_process_is_an_error(
    command: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{module}.py").write_text(ENDINGS[module])
    shown = run(*command.split(), "--reward", f"{module}:f")
    assert shown.exit_code == cli.BAD_INPUT, shown.stderr
    assert shown.stderr.splitlines()[-1].startswith("Error: expected ")
    assert "got SystemExit(" in shown.stderr or "got GeneratorExit()" in shown.stderr or "got Panic()" in shown.stderr
    assert not Path("runs").exists()


def test_an_environment_module_that_wants_to_end_the_process_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("env_that_ends.py").write_text("import sys\nsys.exit(0)\n")
    shown = run("train", "env_that_ends:Id-v0")
    assert shown.exit_code == cli.BAD_INPUT
    assert "a module that can be imported as 'env_that_ends', got SystemExit(0)" in shown.stderr


@pytest.mark.parametrize("ending", [SystemExit(0), SystemExit(3), GeneratorExit()])
def test_a_command_that_is_ended_from_within_exits_1(ending: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> None:
        raise ending

    monkeypatch.setattr("textgym.cli.environments.run_envs", end)
    shown = run("envs")
    assert shown.exit_code == cli.FAILED
    assert shown.stderr.startswith(f"Error: expected a command that runs to its end, got {ending!r}")


@pytest.mark.parametrize("arguments", [["envs"], ["train"], ["train", "--resume", "x"]])
def test_a_working_directory_that_was_removed_is_said(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    shown = in_shell(*arguments)
    assert shown.returncode == cli.BAD_INPUT
    assert shown.stderr.startswith("Error: expected a working directory, got one that was removed")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("show", [console.warn, console.error])
def test_commands_in_messages_can_be_copied(show: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    command = "textgym train --resume 'a  b\xa0c'"
    show(f"\nfirst\r\n\nthen\n{command}\n")
    assert capsys.readouterr().err.split(": ", 1)[1] == f"first then {command}\n"


def test_envs_lists_both_grains() -> None:
    shown = run("envs")
    assert shown.exit_code == 0
    rows = {line.split()[0]: line for line in shown.stdout.splitlines() if "-v" in line}
    assert "a token" in rows["TextSumm-v0"]
    assert "a text" in rows["TextSummEpisode-v0"]
    assert "…" not in shown.stdout
    assert all("reports" in rows[name] and "learned" in rows[name] for name in ("TextSumm-v0", "TextSummEpisode-v0"))


class Bare:
    """A task of a user that has no default reward."""

    def __init__(self, split: str = "train") -> None:
        self.dataset = type("Data", (), {"name": "bare"})


def test_a_task_of_a_user_that_lacks_something_hides_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = {**gym.registry["TextSumm-v0"].kwargs, "task": Bare}
    monkeypatch.setitem(gym.registry["TextSumm-v0"].__dict__, "kwargs", kwargs)
    monkeypatch.setattr(console, "_WIDTH", 200)  # ids that other tests registered make the table wide
    shown = run("envs")
    assert shown.exit_code == 0
    assert "'Bare' object has no attribute" in shown.stdout
    assert "TextSummEpisode-v0" in shown.stdout


@pytest.mark.parametrize(
    ("command", "module", "settings"),
    [
        ("sft", "training.train", "TrainSettings"),
        ("reward_fit", "training.reward", "RewardSettings"),
        ("train", "training.train", "TrainSettings"),
        ("rlhf", "rlhf.settings", "RlhfSettings"),
        ("evaluate", "training.evaluate", "EvaluateSettings"),
        ("generate", "cli.generate", "GenerateSettings"),
        ("play", "cli.play", "PlaySettings"),
    ],
)
def test_options_are_named_after_settings_and_their_defaults_stand_there_only(
    command: str, module: str, settings: str
) -> None:
    kind = getattr(__import__(f"textgym.{module}", fromlist=[settings]), settings)
    fields = {field.name: field.default for field in dataclasses.fields(kind) if field.name != "choice"}
    parameters = inspect.signature(getattr(cli, command)).parameters
    own = {"context", "env_id", "data", "prompt_column", "reference_column", "prompt_template", "what", "text"}
    own |= {"difficulty", "task_option", "resume", "accept_changed_data"}
    offered = {name: parameter.default for name, parameter in parameters.items() if name not in own}
    assert offered.keys() <= fields.keys()
    assert set(offered.values()) == {None}  # nothing is said, and the settings decide
    # Not every setting is worth an option.
    less = {"agent", "n_envs", "reward_timeout"} if command == "sft" else set()
    assert set(fields) - set(offered) <= {"split", "held_out", "document", "options", "agent_options"} | less


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (
            "sft",
            "Training length: tokens of the agent, or optimizer steps if it samples none. Default: 500.",
        ),
        (
            "train --agent sft",
            "Training length: tokens of the agent, or optimizer steps if it samples none. Default: 500.",
        ),
        ("train", "--n-envs <int> Parallel environments. Default: 64."),
        ("train", "Held-out prompts to evaluate on, before and after training. Default: 300."),
        ("play", "--choices <int> Number of tokens offered. Default: 8."),
        ("demo", "--seed <int> Random seed. Default: 0."),
    ],
)
def test_help_tells_the_defaults(command: str, default: str) -> None:
    assert default in " ".join(run(*command.split(), "--help").stdout.split())


def test_numbers_and_bounds_are_short() -> None:
    assert [console.number(value) for value in (0.0, 0.12345, -0.0001, 9.9994, 12.345, 1234.56)] == [
        "0.000",
        "0.123",
        "0.000",
        "9.999",
        "12.35",
        "1,234.6",
    ]
    assert console.with_bounds(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert [console.duration(seconds) for seconds in (0.2, 59, 240, 7200)] == ["1 s", "59 s", "4 min", "2.0 h"]


def test_the_table_of_measures_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    wide = Interval(-0.4371, -1.2309, -0.3567)
    console.print_measures({name: {"rougeL": wide, "kl": wide} for name in ("before", "after", "difference")})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("-0.437 [-1.231, -0.357]" in line for line in lines) == 2  # no cell is broken over two lines


def test_square_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a [bold]word[/] and [x]")
    console.print_side_by_side(("a", "b"), "[red]doc", ("[x]", "[/]"))
    shown = capsys.readouterr().out
    assert "a [bold]word[/] and [x]" in shown
    assert "[red]doc" in shown
    assert "[/]" in shown


@pytest.mark.parametrize("show", [console.say, console.remark, console.warn, console.error, console.heading])
def test_control_characters_are_shown_and_not_obeyed(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show("a\x1b[2Jb \x07 [red]c[/red] \ud800 \u202e")
    captured = capsys.readouterr()
    assert "a\ufffd[2Jb \ufffd [red]c[/red] \ufffd \ufffd" in captured.out + captured.err


def test_what_is_harmless_stays() -> None:
    text = "tab\t, no-break\xa0space, \u3000, joiners \u200d\u200c, Café 東京 🎉\nline"
    assert console.printable(text) == text
    assert console.printable("two\r\nlines\r") == "two\nlines\ufffd"


def test_tables_are_literal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_rows(["x"], [["[b]\x1b[0m"]])
    console.print_measures({"x": {"[b]\x1b": Interval(0, 0, 0)}})
    shown = capsys.readouterr().out
    assert shown.count("[b]\ufffd") == 2


def test_progress_is_quiet_and_informative_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("sampling", 10, "texts") as ticker:
        for _ in range(10):
            ticker.advance(1, note="so far")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sampling: 10 texts in ")
    assert "so far" in captured.err


def test_a_module_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tasks.py").write_text(
        "import textgym\nfrom textgym.tasks import Summarization\ntextgym.register_task('Mine', Summarization)\n"
    )
    monkeypatch.chdir(tmp_path)
    shown = run("play", "my_tasks:MineEpisode-v0", "--reward", "gold", text="A text.\n")
    assert shown.exit_code == 0, shown.stderr
    assert "Your text: A text." in shown.stdout
