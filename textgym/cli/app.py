"""The command ``textgym``. Each sub-command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

import textgym
from textgym import console
from textgym.cli import options as options
from textgym.cli.agent_options import AgentCommand, given_options
from textgym.cli.errors import BAD_INPUT, FAILED, INTERRUPTED, reader_is_gone, report, report_interrupt
from textgym.cli.feedback import feedback_app
from textgym.cli.machine import bench, doctor
from textgym.errors import EndedError, exits_as
from textgym.plots import ignore_style_of_folder
from textgym.security.consent import FIELDS, find_user_modules_in, names_module

__all__ = ["BAD_INPUT", "FAILED", "INTERRUPTED", "app", "main"]
_DEFAULT_ID = "TextSumm-v0"
_Settings = TypeVar("_Settings")


class Commands(TyperGroup):
    """A group whose errors are one line, and whose exit codes mean something.

    0: done. 1: the run failed. 2: the input was wrong. 130, 143, 129: interrupted by Ctrl-C, SIGTERM, SIGHUP.
    """

    def main(  # type: ignore[override]  # typer's own arguments pass through `extra`
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command and exit."""
        extra["standalone_mode"] = False
        debug = "--debug" in (sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, prog_name, **extra)
        except KeyboardInterrupt as error:
            code = report_interrupt(error)
        except Exception as error:  # the one place where errors end
            code = 0 if reader_is_gone(error) else report(error, debug)
        console.finish()
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; interrupts of ours pass through typer, which would swallow their message, and exits."""
        try:
            with exits_as(EndedError, "a command that runs to its end"):
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            return report_interrupt(error)


app = typer.Typer(
    cls=Commands,
    name="textgym",
    help="Reinforcement learning on text: environments, language models, learned rewards.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
reward_app = typer.Typer(
    help="Reward models.", rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)
app.add_typer(reward_app, name="reward")
app.add_typer(feedback_app, name="feedback")
app.command()(bench)
app.command()(doctor)


def main() -> None:
    """Entry point of the ``textgym`` script."""
    _start_in_utf8()
    _forget_working_folder()
    app()


def _forget_working_folder() -> None:
    """Take the current folder off the module path where nobody named it: a torch.py among downloads is not torch.

    Python puts it there by itself (``python -c``), or for an empty entry in ``PYTHONPATH``, which
    ``export PYTHONPATH=$PYTHONPATH:/some/place`` makes of an unset one.
    """
    here = _working_folder()
    if sys.path[0] in ("", here):
        del sys.path[0]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    is_named = here is not None and here in [os.path.abspath(entry) for entry in entries if entry]
    if len(entries) > 1 and "" in entries and not is_named:
        sys.path[:] = [place for place in sys.path if place not in ("", here)]


def _working_folder() -> str | None:
    """Return the current folder; ``None`` where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _start_in_utf8() -> None:
    """Begin again in Python's UTF-8 mode where file names are read in another encoding (``LC_ALL=C PYTHONUTF8=0``).

    Names beyond ASCII would otherwise be half-read characters, which neither JSON nor other libraries take. What is
    printed stays in the encoding of the terminal.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        environment = {**os.environ, "PYTHONUTF8": "1"}
        if sys.stdout is not None:
            environment.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    if version:
        console.say(f"textgym {textgym.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    folder = _working_folder()
    if folder is None:  # torch itself cannot start there
        raise FileNotFoundError("expected a working directory, got one that was removed; go to another, as by cd ~")
    find_user_modules_in(folder)
    if ignore_style_of_folder():
        console.remark("The matplotlibrc in this folder is not followed.")


@app.command()
def envs() -> None:
    """List the environments."""
    from textgym.cli.environments import run_envs

    run_envs()


@app.command()
def demo(
    model: options.Model = "tiny",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
) -> None:
    """From simulated preferences to a better language model, in about four minutes."""
    _quiet()
    from textgym.rlhf.demo import DemoSettings, run_demo

    run_demo(DemoSettings(model=model, seed=seed, device=device, out=out))


@app.command()
def sft(
    context: typer.Context,
    env_id: options.EnvId = _DEFAULT_ID,
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    steps: Annotated[int, typer.Option("--steps", help="Optimiser steps.")] = 500,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Train this long instead.")] = None,
    learning_rate: options.LearningRate = 5e-4,
    batch_size: options.BatchSize = 32,
    limit: Annotated[int | None, typer.Option("--limit", help="Use at most this many examples.")] = None,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    reward: options.Reward = None,
    eval_prompts: options.EvalPrompts = 200,
    save_every: options.SaveEvery = 100,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
    resume: options.Resume = None,
    accept_changed_data: options.AcceptChangedData = False,
) -> None:
    """Supervised fine-tuning on a task's demonstrations or references."""
    _quiet()
    from textgym.training.sft import SftSettings, run_sft, run_sft_resume

    if resume is None:
        run_sft(_settings(SftSettings, context))
    else:
        run_sft_resume(resume, _consent_with_resume(context), accept_changed_data=accept_changed_data)


@reward_app.command("fit")
def reward_fit(
    context: typer.Context,
    env_id: options.EnvId = _DEFAULT_ID,
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    members: Annotated[int, typer.Option("--members", help="Reward models to average.")] = 1,
    lora_rank: Annotated[int | None, typer.Option("--lora-rank", help="Train adapters of this rank only.")] = None,
    embeddings: Annotated[
        str | None,
        typer.Option("--embeddings", help="Fit a head on this sentence-transformers model's embeddings instead."),
    ] = None,
    feedback: Annotated[
        str | None,
        typer.Option(
            "--feedback", "--comparisons", help="PROJECT.db, or JSON lines: records, or chosen/rejected rows."
        ),
    ] = None,
    criterion: Annotated[
        str | None, typer.Option("--criterion", help="Learn from the ratings by it, not from the overall ones.")
    ] = None,
    annotator: Annotated[
        str | None,
        typer.Option("--annotator", help="Without --feedback: compare by this reward, such as gold or rouge."),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", help="Simulated comparisons.")] = 2000,
    noise: Annotated[
        float | None, typer.Option("--noise", help="Score difference that is seen 73 % of the time.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the feedback.")] = 1,
    learning_rate: options.LearningRate = 1e-4,
    batch_size: options.BatchSize = 16,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the prompts to measure accuracy on.")] = 0.1,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Also fit to parts of the feedback: does more of it help?")
    ] = False,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    save_every: options.SaveEvery = 100,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
    resume: options.Resume = None,
    accept_changed_data: options.AcceptChangedData = False,
) -> None:
    """Fit a reward model to feedback about texts: votes, rankings, ratings, edits, behaviour."""
    _quiet()
    from textgym.training.reward import RewardSettings, run_reward_fit, run_reward_resume

    if resume is None:
        run_reward_fit(_settings(RewardSettings, context))
    else:
        run_reward_resume(resume, _consent_with_resume(context), accept_changed_data=accept_changed_data)


@app.command(cls=AgentCommand)
def train(
    context: typer.Context,
    env_id: options.EnvId = _DEFAULT_ID,
    agent: options.TrainedAgent = "ppo",
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    reward: options.Reward = None,
    steps: Annotated[int, typer.Option("--steps", help="Time steps to train for: tokens.")] = 200_000,
    n_envs: Annotated[int, typer.Option("--n-envs", help="Texts written side by side.")] = 64,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    eval_prompts: options.EvalPrompts = 300,
    save_every: Annotated[int, typer.Option("--save-every", help="Iterations between checkpoints.")] = 10,
    reward_timeout: options.RewardTimeout = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
    resume: options.Resume = None,
    accept_changed_data: options.AcceptChangedData = False,
) -> None:
    """Train an agent, by default a language model with PPO; its own options are listed beside --agent."""
    _quiet()
    if resume is None and agent == "sft":
        from textgym.training.sft import SftSettings, run_sft

        given = {name: value for name, value in context.params.items() if _is_given(context, name)}
        run_sft(_settings(SftSettings, context, only=given, options=given_options(context)))
        return
    from textgym.training.train import TrainSettings, run_resume, run_train

    if resume is None:
        run_train(_settings(TrainSettings, context, options=given_options(context)))
    else:
        run_resume(resume, _consent_with_resume(context), accept_changed_data=accept_changed_data)


@app.command()
def rlhf(
    context: typer.Context,
    env_id: options.EnvId = _DEFAULT_ID,
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    agent: options.TrainedAgent = "ppo",
    rounds: Annotated[int, typer.Option("--rounds", help="How often to ask, fit and train.")] = 3,
    labels: Annotated[int, typer.Option("--labels", help="Questions in each round.")] = 400,
    previous_share: Annotated[
        float,
        typer.Option(
            "--previous-share", "--matches", help="Share of them that compare with the policy of the round before."
        ),
    ] = 0.25,
    select: Annotated[
        str, typer.Option("--select", help="random, or disagreement (of --members 2 or more).")
    ] = "random",
    members: Annotated[int, typer.Option("--members", help="Reward models to average.")] = 1,
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", help="Fit a head on this model's embeddings instead.")
    ] = None,
    people: Annotated[bool, typer.Option("--people", help="Ask people, on a page that is served meanwhile.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of that page; 0 takes a free one.")] = 8765,
    overlap: Annotated[int, typer.Option("--overlap", help="Annotators per question.")] = 1,
    annotators: Annotated[int, typer.Option("--annotators", help="How many to simulate.")] = 3,
    annotator: Annotated[str | None, typer.Option("--annotator", help="Reward that they compare by: gold ...")] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", help="Score difference that is seen 73 % of the time.")
    ] = None,
    reward_epochs: Annotated[int, typer.Option("--reward-epochs", help="Passes over all answers so far.")] = 1,
    reward_learning_rate: Annotated[float, typer.Option("--reward-lr", help="Of the reward's fit.")] = 1e-4,
    iterations: Annotated[int, typer.Option("--iterations", help="Iterations of the agent in each round.")] = 8,
    n_envs: Annotated[int, typer.Option("--n-envs", help="Texts written side by side.")] = 64,
    learning_rate: options.LearningRate = 2e-4,
    kl_coef: Annotated[float, typer.Option("--kl-coef", help="Price of a nat of KL to the start model.")] = 0.02,
    eval_prompts: options.EvalPrompts = 320,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
    resume: options.Resume = None,
    accept_changed_data: options.AcceptChangedData = False,
) -> None:
    """Ask, fit a reward, train on it, and ask again, round after round."""
    _quiet()
    from textgym.rlhf.rounds import RlhfSettings
    from textgym.rlhf.run import run_rlhf, run_rlhf_resume

    if resume is None:
        run_rlhf(_settings(RlhfSettings, context))
    else:
        run_rlhf_resume(resume, _consent_with_resume(context), accept_changed_data=accept_changed_data)


@app.command()
def evaluate(
    context: typer.Context,
    env_id: options.EnvId = _DEFAULT_ID,
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    agent: options.Agent = None,
    reference_model: Annotated[
        str | None, typer.Option("--reference-model", help="Compare with this one; by default what a run started from.")
    ] = None,
    reward: options.Reward = None,
    split: options.Split = "test",
    prompts: Annotated[int, typer.Option("--prompts", help="How many prompts.")] = 300,
    temperature: options.Temperature = 1.0,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: options.Out = None,
) -> None:
    """Measure a model, or a model and the one it started from, on held-out prompts."""
    _quiet()
    from textgym.training.evaluate import EvaluateSettings, run_evaluate

    run_evaluate(_settings(EvaluateSettings, context))


@app.command()
def generate(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="[ENV_ID|TEXT]", help="An environment, or a document.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="The document; - reads it from stdin.")] = None,
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: options.Model = "tiny",
    agent: options.Agent = None,
    split: options.Split = "test",
    prompts: Annotated[int, typer.Option("--prompts", help="Documents to take, if none is given.")] = 1,
    n: Annotated[int, typer.Option("--n", help="Texts per document.")] = 3,
    temperature: options.Temperature = 1.0,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Print texts that a model writes about a document, or about documents of a task."""
    _quiet()
    from textgym.cli.generate import GenerateSettings, run_generate, split_argument

    env_id, document = split_argument(what, text)
    if document == "-" or _wants_stdin(context):
        document = _read_stdin()
    run_generate(_settings(GenerateSettings, context, env_id=env_id, document=document))


@app.command()
def play(
    context: typer.Context,
    env_id: options.EnvId = "TextSummEpisode-v0",
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Token level: offer this model's likeliest tokens.")
    ] = None,
    agent: options.Agent = None,
    reward: options.Reward = None,
    split: options.Split = "train",
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    choices: Annotated[int, typer.Option("--choices", help="Tokens that are offered.")] = 8,
    episodes: Annotated[int, typer.Option("--episodes", help="Episodes to play.")] = 1,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Play an episode yourself, or watch an agent play it."""
    _quiet()
    from textgym.cli.play import PlaySettings, run_play

    run_play(_settings(PlaySettings, context))


def _settings(
    kind: Callable[..., _Settings],
    context: typer.Context,
    *,
    only: Mapping[str, object] | None = None,
    **changes: object,
) -> _Settings:
    """Make a command's settings from its options, which are named after the fields (a test compares them).

    Args:
        kind: Makes them.
        context: The command.
        only: The options that count, if not all do: the others are left to ``kind``.
        changes: Values that are no options.
    """
    from textgym.envs.choice import EnvChoice

    choice = EnvChoice(*((context.params | changes)[field.name] for field in fields(EnvChoice)))
    values = dict(context.params if only is None else only) | changes
    known = set(inspect.signature(kind).parameters) & set(values)
    return kind(choice=choice, **{name: values[name] for name in known})


def _quiet() -> None:
    from textgym.cli.quiet import quiet_libraries

    quiet_libraries()


def _consent_with_resume(context: typer.Context) -> list[str]:
    """Return the names of modules that are repeated beside ``--resume``, which says that they may be imported.

    A run goes on with its own settings; others given beside ``--resume`` would be silently ignored.
    """
    names = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in ("resume", "accept_changed_data") or not _is_given(context, name):
            continue
        value = {**context.params, **given_options(context)}[name]
        if name in FIELDS and isinstance(value, str) and names_module(value):
            names.append(value)
        else:
            option = parameter.opts[0] if parameter.param_type_name == "option" else "ENV_ID"
            raise ValueError(f"expected --resume alone, got {option} too: a run keeps its own settings; leave it out")
    return names


def _wants_stdin(context: typer.Context) -> bool:
    """A pipe is the document unless something says where documents come from; a terminal never is."""
    sources = ("what", "text", "data", "prompts", "split")
    return not any(map(partial(_is_given, context), sources)) and sys.stdin is not None and not sys.stdin.isatty()


def _read_stdin() -> str:
    console.remark("Reading the document from stdin; name an environment to take documents of a task instead.")
    return sys.stdin.read().strip() if sys.stdin is not None else ""


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
