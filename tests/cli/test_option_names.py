"""Messages of commands name options as they are typed, and the help of the command; suggestions fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from textgym.agents.registry import installed_agents
from textgym.cli import app as cli
from textgym.cli.agent_options import agent_parameters
from textgym.cli.suggestions import SYNONYMS
from textgym.envs.choice import EnvChoice
from textgym.errors import did_you_mean, most_similar
from textgym.naming import argument, arguments, options_named
from textgym.training.train_settings import train_settings

POSITIONAL = {
    "bench": ["no-such-benchmark"],
    "feedback export": ["no.db", "x.jsonl"],
    "feedback import": ["no.db", "x.jsonl"],
    "feedback sample": ["no.db"],
    "feedback serve": ["no.db"],
    "feedback simulate": ["no.db"],
}
COMMAND = typer.main.get_command(cli.app)
ANY_NUMBER = {"--position-bias", "--length-bias", "--initial-value"}
"""Options that may be below 0."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Result(NamedTuple):
    exit_code: object
    stderr: str


def run(*arguments: str) -> Result:
    """Run a command. It is built once for all tests, which takes longer than to run it."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as shown, pytest.raises(SystemExit) as exit_code:
        COMMAND.main(list(arguments))
    return Result(exit_code.value.code, shown.getvalue())


def mistake(command: str) -> str:
    shown = run(*command.split())
    assert shown.exit_code == cli.BAD_INPUT, (command, shown.stderr)
    return shown.stderr.strip().splitlines()[-1]


def commands(command: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """The commands as they are typed, without those of groups."""
    command = command or typer.main.get_command(cli.app)
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from commands(each, f"{path} {name}".strip())


def parameters(path: str) -> list[Any]:
    """The options of a command, or of an agent alone: ``"train --agent ppo"``."""
    command, _, agent = path.partition(" --agent ")
    own = ALL[command].params
    return agent_parameters(agent, {param.name for param in own}) if agent else own


def numeric(param: Any) -> bool:
    is_option = param.param_type_name == "option" and not param.is_flag
    return is_option and re.search("int|float", str(param.type_descriptor.annotation)) is not None


def python_names(path: str) -> re.Pattern[str]:
    """The names that arguments of a command have in Python, where those are none of a shell's."""
    own = parameters(path.partition(" --")[0])
    names = {str(param.name) for param in [*own, *parameters(path)]}
    written = [name for name in names if "_" in name]
    return re.compile(rf"\b({'|'.join([*written, '[a-z_]+='])})(?![\w.])")


ALL = dict(commands())
WITH_AGENTS = [*ALL, *(f"train --agent {agent}" for agent in installed_agents())]


@pytest.mark.parametrize("path", WITH_AGENTS)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "x"])
def test_a_number_out_of_range_names_the_option_as_it_is_typed(path: str, value: str) -> None:
    in_python = python_names(path)
    has_data = any(param.name == "data" for param in ALL[path.partition(" --")[0]].params)
    later = ["--data", "no-such-file.jsonl"] if has_data else []  # so that nothing runs, whatever is accepted
    for param in parameters(path):
        if not numeric(param) or (param.opts[0] in ANY_NUMBER and value == "-1"):
            continue
        for option in param.opts:
            arguments = [*path.split(), *POSITIONAL.get(path, []), *later, f"{option}={value}"]
            shown = run(*arguments)
            assert shown.exit_code == cli.BAD_INPUT, arguments
            assert f"{option} " in shown.stderr or f"'{option}'" in shown.stderr, (arguments, shown.stderr)
            assert not in_python.search(shown.stderr), (arguments, shown.stderr)


@pytest.mark.parametrize("path", ALL)
def test_every_wrong_option_names_the_help_of_its_command(path: str) -> None:
    message = mistake(f"{path} --no-such-option-x 1")
    assert message == (f"Error: No such option: --no-such-option-x. (textgym {path} --help lists what there is)"), (
        message
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian", "No such command 'trian'. Did you mean 'train'? (textgym --help lists what there is)"),
        ("feedback statsu", "Did you mean 'status'? (textgym feedback --help lists what there is)"),
        ("train --agent reinforce --x-y 1", "(textgym train --agent reinforce --help lists what there is)"),
        ("train --agent=sft --x-y 1", "(textgym train --agent sft --help lists what there is)"),
        ("train --steps x", "(textgym train --help lists what there is)"),
        ("feedback status", "Missing argument 'PROJECT.db'. (textgym feedback status --help lists what there is)"),
    ],
)
def test_hints_name_the_command_and_the_agent(command: str, message: str) -> None:
    assert message in mistake(command)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --lr -1", "expected --lr above 0, got -1.0; choose another"),
        ("train --learning-rate -1", "expected --learning-rate above 0"),  # as it was typed
        ("reward fit --lr 0", "expected --lr above 0"),
        ("reward fit --learning-rate 0", "expected --learning-rate above 0"),
        ("feedback simulate no.db --position-bias nan", "expected --position-bias that is finite, got nan"),
        ("feedback simulate no.db --length-bias=-inf", "expected --length-bias that is finite, got -inf"),
        ("reward fit --held-out 1", "expected a share below 1 as --held-out, got 1.0; lower it"),
        ("reward fit --criterion helpful", "got none; give --feedback"),
        ("reward fit --learning-curve --held-out 0", "raise --held-out"),
        (
            "reward fit --embeddings x --lora-rank 2",
            "expected --embeddings, which are frozen, or --lora-rank, got both",
        ),
        ("rlhf --reward-lr 0", "expected --reward-lr above 0"),
        ("rlhf --previous-share 2", "expected a share of at most 1 as --previous-share, got 2.0"),
        ("rlhf --select disagreement", "expected --members of at least 2 for --select disagreement, got 1"),
        ("rlhf --overlap 5", "expected --annotators of at least 5, as many as --overlap, got 3"),
        ("train --n-envs 100000", "expected --n-envs of at most 65,536, got 100000; lower it"),
        ("train --kl-target 2 --kl-coef 0", "expected --kl-coef above 0 with --kl-target 2.0, which multiplies it"),
        ("train --agent acktr", "human or 'module:Class' as --agent, got agent 'acktr'."),
        ("train --device gpu", "expected --device to be auto, cpu or cuda, got 'gpu'; choose one"),
        ("feedback export no.db x --form cvs", "Did you mean 'csv'?"),
        ("feedback sample no.db --mode comprae", "expected --mode out of compare, rank, rate, edit, natural, got"),
        ("feedback sample no.db --mode edit --checks 1", "lower --checks, or choose another --mode"),
    ],
)
def test_errors_name_options_as_they_are_typed(command: str, message: str) -> None:
    assert message in mistake(command)


def test_in_python_errors_name_arguments() -> None:
    with pytest.raises(ValueError, match=r"^expected learning_rate above 0, got -1.0; choose another$"):
        train_settings(EnvChoice(), learning_rate=-1.0)
    with pytest.raises(ValueError, match=r"^expected kl_coef above 0 with kl_target=2.0, which multiplies it"):
        train_settings(EnvChoice(), kl_target=2.0, kl_coef=0.0)
    mistake("train --lr -1")
    assert argument("learning_rate", 0.1) == "learning_rate=0.1"  # a command leaves no names behind


def test_values_are_written_as_a_shell_reads_them() -> None:
    with options_named({"prompt_column": "--prompt-column", "people": "--people", "env_id": "ENV_ID"}):
        assert argument("prompt_column", "the ticket's") == """--prompt-column 'the ticket'"'"'s'"""
        assert (argument("people", True), argument("people", False)) == ("--people", "no --people")
        assert argument("env_id") == "ENV_ID"
        assert argument("prompt_column", ...) == "--prompt-column"
        assert arguments({"prompt_column": "a", "people": True}) == "--prompt-column a --people"
        assert argument("critic", "shared") == 'critic="shared"'  # none of the command's
    assert argument("people", True) == "people=True"
    assert argument("prompt_column", ...) == "prompt_column=..."
    assert argument("prompt_column", 'a "b"') == r'prompt_column="a \"b\""'


def test_words_of_the_user_are_never_translated() -> None:
    Path("rows.csv").write_text("learning_rate,n_envs\n" + "one text,another text\n" * 20)
    message = mistake("train --reward rouge --data rows.csv --prompt-column prompt_column=x")
    assert "learning_rate, n_envs" in message
    assert "'prompt_column=x'" in message


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("reward fit --step-size 1", "--lr"),
        ("train --agent sft --learning-rat 1", "--learning-rate"),
        ("train --total-timesteps 1", "--steps"),
        ("train --num-epochs 1", "--epochs"),
        ("rlhf --num-epochs 1", "--reward-epochs"),
        ("train --batch_size 1", "--batch-size"),
        ("train --per-device-train-batch-size 1", "--batch-size"),
        ("train --max_length 1", "--max-new-tokens"),
        ("train --max-completion-length 1", "--max-new-tokens"),
        ("train --model_name_or_path x", "--model"),
        ("train --output_dir x", "--out"),
        ("train --init-kl-coef 1", "--kl-coef"),
        ("train --beta 1", "--kl-coef"),
        ("train --agent reinforce --target-kl 1", "--kl-target"),
        ("train --agent rloo --num-generations 2", "--group-size"),
        ("train --agent grpo --epsilon-high 0.28", "--clip-range-high"),
        ("train --num-envs 1", "--n-envs"),
        ("train --dataset x", "--data"),
        ("train --text-column x", "--prompt-column"),
        ("train --reward-model x", "--reward"),
        ("train --resume-from-checkpoint x", "--resume"),
        ("evaluate --n-eval-episodes 1", "--prompts"),
        ("generate --num-return-sequences 1", "--n"),
        ("sft --max-steps 1", "--steps"),
        ("sft --warmup-ratio 1", "--warmup"),
    ],
)
def test_names_of_other_libraries_lead_to_ours(command: str, option: str) -> None:
    assert f"Did you mean {option!r}?" in mistake(command)


@pytest.mark.parametrize("path", WITH_AGENTS)
def test_a_learning_rate_has_the_same_names_in_every_command(path: str) -> None:
    for param in parameters(path):
        if str(param.name).endswith("learning_rate"):
            long = f"--{param.name.replace('_', '-')}"
            assert set(param.opts) == {long, long.replace("learning-rate", "lr")}


def test_every_synonym_leads_to_an_option_of_some_command() -> None:
    known = {option for path in WITH_AGENTS for param in parameters(path) for option in param.opts}
    assert set(SYNONYMS) - known == {"ENV_ID"}


def test_an_option_of_another_agent_or_command_is_told() -> None:
    having = "ppo, reinforce, reinforce_pp, rloo, grpo and consensus_ppo"
    assert f"It is an option of --agent {having}." in mistake("train --agent sft --kl-coef 0.1")
    assert "It is an option of --agent reinforce." in mistake("train --agent ppo --baseline mean")
    assert "It is an option of --agent ppo, reinforce_pp, rloo, " in mistake("train --agent reinforce --clip-range 1")
    assert "It is an option of textgym play." in mistake("train --choices 3")
    assert "only its id: textgym train TextSumm-v0." in mistake("train --env x")


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("ticket", ["article", "prompt", "text"], None),
        ("tikcet", ["article", "ticket"], "ticket"),
        ("learning-rate", ["learning-curve", "lr"], None),
        ("rogue", ["rouge", "gold"], "rouge"),
        ("golden", ["gold", "rouge"], "gold"),
        ("Ticket", ["ticket"], "ticket"),
        ("tset", ["test", "train"], "test"),
        ("steps", ["step", "stops"], "step"),
        ("bleu", ["rouge", "gold"], None),
        ("trpo", ["ppo", "reinforce"], None),
        ("body", ["document", "dialogue"], None),
        ("name", ["text", "input", "prompt"], None),
    ],
)
def test_a_suggestion_is_similar(name: str, known: list[str], found: str | None) -> None:
    assert most_similar(name, known) == found
    assert did_you_mean(name, known) == (
        f" Did you mean {found!r}?" if found else f" Known: {', '.join(sorted(known))}."
    )
