"""The command ``textgym``. Each sub-command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import typer

import textgym
from textgym import console
from textgym.cli import options as options
from textgym.cli.agent_options import (
    AgentCommand,
    SftCommand,
    actor_command,
    defaults_of,
    given_options,
    given_values,
    is_given,
    names_of,
    settings_of,
)
from textgym.cli.command import Command, Group, help_width
from textgym.cli.compare import compare
from textgym.cli.errors import BAD_INPUT, FAILED, INTERRUPTED, reader_is_gone, report, report_interrupt
from textgym.cli.feedback import feedback_app
from textgym.cli.machine import bench, doctor
from textgym.cli.options import BUDGETS, RESUMABLE, RUN, TASK, takes
from textgym.cli.resuming import of_start_model, run_or_resume
from textgym.cli.runs import runs, show
from textgym.errors import EndedError, RankLostError, exits_as
from textgym.naming import options_named
from textgym.plots import ignore_style_of_folder
from textgym.security.consent import find_user_modules_in

__all__ = ["BAD_INPUT", "FAILED", "INTERRUPTED", "app", "main"]
_PLAYED_ID = "TextSummEpisode-v0"


class Commands(Group):
    """A group whose errors are one line, and whose exit codes mean something.

    0: done. 1: the run failed. 2: the input was wrong. 130, 143, 129: interrupted by Ctrl-C, SIGTERM, SIGHUP.
    """

    def main(  # type: ignore[override]  # typer's own arguments pass through `extra`
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> object:
        """Run a command and exit."""
        extra |= {"standalone_mode": False, "terminal_width": help_width()}
        debug = "--debug" in (sys.argv[1:] if args is None else args)
        try:
            with options_named({}):
                code = super().main(args, prog_name or "textgym", **extra)
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
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
reward_app = typer.Typer(
    cls=Group,
    help="Reward models.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(reward_app, name="reward")
app.add_typer(feedback_app, name="feedback")
app.command(cls=Command)(bench)
app.command(cls=defaults_of("textgym.training.comparison.settings:ComparisonSettings"))(compare)
app.command(cls=Command)(runs)
app.command(cls=Command)(show)
app.command(cls=Command)(doctor)


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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    if version:
        console.say(f"textgym {textgym.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    folder = _working_folder()
    if folder is None:  # torch itself cannot start there
        raise FileNotFoundError(
            "expected a working directory, got one that was removed; change to another, for example: cd ~"
        )
    find_user_modules_in(folder)
    if ignore_style_of_folder():
        console.remark("The matplotlibrc in this folder is not followed.")


@app.command(cls=Command)
def envs() -> None:
    """List the environments."""
    from textgym.cli.environments import run_envs

    run_envs()


@app.command(cls=defaults_of("textgym.rlhf.demo:DemoSettings"))
@takes({"model": options.Model, **RUN})
def demo(context: typer.Context, **_: object) -> None:
    """Demonstration of RLHF: train a language model from simulated preferences, in about 5 minutes."""
    _quiet()
    from textgym.rlhf.demo import DemoSettings, run_demo

    run_demo(DemoSettings(**given_values(context)))


@app.command(cls=SftCommand)
@takes(
    {
        **TASK,
        "model": options.Model,
        "steps": options.Steps,
        "minutes": options.Minutes,
        "reward": options.Reward,
        **BUDGETS,
        "eval_prompts": options.EvalPrompts,
        "save_every": options.SaveEvery,
        **RESUMABLE,
    }
)
def sft(context: typer.Context, **_: object) -> None:
    """Supervised fine-tuning on demonstrations or references; the same as train --agent sft."""
    _train(context, "sft", {"agent": "sft"})


@reward_app.command("fit", cls=defaults_of("textgym.training.reward:RewardSettings"))
@takes(
    {
        **TASK,
        "model": options.Model,
        "members": options.Members,
        "lora_rank": options.LoraRank,
        "embeddings": options.Embeddings,
        "feedback": Annotated[
            str,
            typer.Option(
                "--feedback",
                "--comparisons",
                help="Feedback: PROJECT.db, or a file of any shape in docs/data.md: JSON, CSV, Parquet.",
            ),
        ],
        "criterion": Annotated[
            str,
            typer.Option("--criterion", help="Train on the ratings by this criterion instead of the overall ratings."),
        ],
        "annotator": options.Annotator,
        "pairs": Annotated[
            int, typer.Option("--pairs", help="Number of simulated comparisons, where there is no --feedback.")
        ],
        "noise": options.Noise,
        "epochs": Annotated[int, typer.Option("--epochs", help="Training epochs.")],
        "learning_rate": options.LearningRate,
        "batch_size": options.BatchSize,
        "held_out": Annotated[
            float, typer.Option("--held-out", help="Share of the prompts held out to measure accuracy on.")
        ],
        "learning_curve": Annotated[
            bool,
            typer.Option(
                "--learning-curve",
                help="Also fit to growing parts of the feedback, to see whether more feedback would help.",
            ),
        ],
        **BUDGETS,
        "save_every": options.SaveEvery,
        **RESUMABLE,
    }
)
def reward_fit(context: typer.Context, **_: object) -> None:
    """Fit a reward model to feedback: comparisons, rankings, ratings, edits or behaviour."""
    _quiet()
    from textgym.training.reward import RewardSettings, run_reward_fit, run_reward_resume

    take = partial(of_start_model, context, "reward fit")
    run_or_resume(context, lambda: run_reward_fit(settings_of(RewardSettings, context, **take())), run_reward_resume)


@app.command(cls=AgentCommand)
@takes(
    {
        **TASK,
        "agent": options.TrainedAgent,
        "model": options.Model,
        "reward": options.Reward,
        "steps": options.Steps,
        "minutes": options.Minutes,
        "n_envs": options.NEnvs,
        **BUDGETS,
        "eval_prompts": options.EvalPrompts,
        "save_every": options.SaveEvery,
        "reward_timeout": options.RewardTimeout,
        **RESUMABLE,
    }
)
def train(context: typer.Context, **_: object) -> None:
    """Train an agent, by default a language model with PPO. Options of an agent: textgym train --agent NAME --help."""
    _train(context, "train", {})


@app.command(cls=defaults_of("textgym.rlhf.rounds:RlhfSettings"))
@takes(
    {
        **TASK,
        "model": options.Model,
        "agent": options.TrainedAgent,
        "rounds": Annotated[
            int, typer.Option("--rounds", help="Rounds of collecting feedback, fitting the reward model and training.")
        ],
        "labels": Annotated[int, typer.Option("--labels", help="Comparisons to label in each round.")],
        "previous_share": Annotated[
            float,
            typer.Option(
                "--previous-share",
                "--matches",
                help="Share of the comparisons against the policy of the previous round.",
            ),
        ],
        "select": Annotated[
            str,
            typer.Option("--select", help="Selection of comparisons: random, or disagreement of --members 2 or more."),
        ],
        "members": options.Members,
        "embeddings": options.Embeddings,
        "people": Annotated[
            bool, typer.Option("--people", help="Ask people on a local web page instead of simulated annotators.")
        ],
        "port": Annotated[int, typer.Option("--port", help="Port of the web page; 0 picks a free one.")],
        "overlap": Annotated[int, typer.Option("--overlap", help="Annotators per comparison.")],
        "annotators": Annotated[int, typer.Option("--annotators", help="Number of simulated annotators.")],
        "annotator": options.Annotator,
        "noise": options.Noise,
        "reward_epochs": Annotated[
            int, typer.Option("--reward-epochs", help="Training epochs of the reward model, on all feedback so far.")
        ],
        "reward_learning_rate": Annotated[
            float,
            typer.Option("--reward-lr", "--reward-learning-rate", help="Learning rate of the reward model."),
        ],
        "iterations": Annotated[
            int, typer.Option("--iterations", help="Training iterations of the agent in each round.")
        ],
        "n_envs": options.NEnvs,
        "learning_rate": options.LearningRate,
        "kl_coef": Annotated[float, typer.Option("--kl-coef", help="KL penalty coefficient.")],
        "eval_prompts": options.EvalPrompts,
        **BUDGETS,
        **RESUMABLE,
    }
)
def rlhf(context: typer.Context, **_: object) -> None:
    """Iterated RLHF: collect preferences, fit a reward model, train on it, and repeat."""
    _quiet()
    from textgym.rlhf.rounds import RlhfSettings
    from textgym.rlhf.run import run_rlhf, run_rlhf_resume

    take = partial(of_start_model, context, "rlhf")
    run_or_resume(context, lambda: run_rlhf(settings_of(RlhfSettings, context, **take())), run_rlhf_resume)


@app.command(cls=actor_command("textgym.training.evaluate:EvaluateSettings"))
@takes(
    {
        **TASK,
        "model": options.Models,
        "agent": options.Agents,
        "reference_model": Annotated[
            str,
            typer.Option(
                "--reference-model", help="Baseline to compare with; by default the model that a run started from."
            ),
        ],
        "reward": options.Reward,
        "metric": options.Metric,
        "split": options.Split,
        "prompts": Annotated[int, typer.Option("--prompts", help="Number of prompts.")],
        "temperature": options.Temperature,
        **BUDGETS,
        **RUN,
    }
)
def evaluate(context: typer.Context, **_: object) -> None:
    """Evaluate a model beside the one it was trained from, on its run's data and reward; several are compared."""
    _quiet()
    from textgym.cli.several import evaluate_given
    from textgym.training.evaluate import EvaluateSettings

    evaluate_given(context, names_of(EvaluateSettings), settings_of)


@app.command(cls=defaults_of("textgym.training.rescore:ScoreSettings", of_run=True))
@takes(
    {
        "episodes": options.Episodes,
        **TASK,
        "reward": options.Reward,
        "metric": options.Metric,
        "split": options.Split,
        "out": options.Out,
    }
)
def score(context: typer.Context, **_: object) -> None:
    """Score saved episodes with another reward, or other measures, without generating again."""
    _quiet()
    from textgym.cli.several import score_given

    score_given(context)


@app.command(cls=defaults_of("textgym.cli.generate:GenerateSettings"))
@takes(
    {
        "what": Annotated[str, typer.Argument(metavar="[ENV_ID|TEXT]", help="Environment id, or a prompt.")],
        "text": Annotated[str, typer.Option("--text", help="The prompt; - reads it from standard input.")],
        **{name: kind for name, kind in TASK.items() if name != "env_id"},
        "model": options.Model,
        "agent": options.Agent,
        "split": options.Split,
        "prompts": Annotated[int, typer.Option("--prompts", help="Number of prompts of the data, if none is given.")],
        "n": Annotated[int, typer.Option("--n", help="Responses per prompt.")],
        "columns": options.Columns,
        "temperature": options.Temperature,
        **BUDGETS,
        "seed": options.Seed,
        "device": options.Device,
    }
)
def generate(context: typer.Context, **_: object) -> None:
    """Print responses of a model to a prompt, or to prompts of the data."""
    _quiet()
    from textgym.cli.generate import GenerateSettings, document_from_stdin, parse_columns, run_generate, split_argument
    from textgym.training.from_run import taken_for_document, taken_from_model

    env_id, document = split_argument(context.params["what"], context.params["text"])
    if document == "-" or _wants_stdin(context):
        document = document_from_stdin(None if document else context.params["agent"] or context.params["model"])
    columns = parse_columns(context.params["columns"] or ())
    given = {**given_values(context), "columns": columns, **({} if env_id is None else {"env_id": env_id})}
    take = taken_from_model if document is None else taken_for_document
    taken = take("generate", given, names_of(GenerateSettings) - {"prompts"})
    if env_id is not None:
        taken["env_id"] = env_id
    run_generate(settings_of(GenerateSettings, context, document=document, columns=columns, **taken))


@app.command(cls=actor_command("textgym.cli.play:PlaySettings", _PLAYED_ID))
@takes(
    {
        **TASK,
        "model": Annotated[
            str,
            typer.Option("--model", help="Model whose most likely tokens are offered, in token-level environments."),
        ],
        "agent": options.Agent,
        "reward": options.Reward,
        "split": options.Split,
        **BUDGETS,
        "choices": Annotated[int, typer.Option("--choices", help="Number of tokens offered.")],
        "episodes": Annotated[int, typer.Option("--episodes", help="Number of episodes.")],
        "seed": options.Seed,
        "device": options.Device,
    }
)
def play(context: typer.Context, **_: object) -> None:
    """Play an episode in the terminal, or watch an agent play."""
    _quiet()
    from textgym.cli.play import PlaySettings, run_play
    from textgym.training.from_run import taken_from_model

    given = given_values(context)
    taken = taken_from_model("play", given, names_of(PlaySettings) - {"split"})
    more = {"env_id": given.get("env_id", _PLAYED_ID), "agent_options": given_options(context), **taken}
    run_play(settings_of(PlaySettings, context, **more))


def _train(context: typer.Context, command: str, fixed: Mapping[str, str]) -> None:
    """Run ``train``, or what is short for it."""
    _quiet()
    from textgym.agents.common.distributed import processes
    from textgym.training.several import follow, follow_resumed
    from textgym.training.train import run_resume, run_train
    from textgym.training.train_settings import train_settings

    with processes() as ranks:

        def run() -> object:
            more = {**fixed, **given_options(context), **of_start_model(context, command)}
            settings = settings_of(train_settings, context, **more)
            if ranks.rank == 0:
                return run_train(settings, command)
            follow(settings, ranks)
            return None

        leads = partial(run_resume, command=command)
        follows = partial(follow_resumed, command=command, ranks=ranks)
        try:
            run_or_resume(context, run, leads if ranks.rank == 0 else follows)
        except RankLostError:
            if ranks.rank == 0:
                raise
            raise typer.Exit(FAILED) from None  # the first process says it


def _quiet() -> None:
    from textgym.cli.quiet import quiet_libraries

    quiet_libraries()


def _wants_stdin(context: typer.Context) -> bool:
    """A pipe is the prompt unless something says where prompts come from; a terminal never is."""
    sources = ("what", "text", "data", "prompts", "split")
    return not any(map(partial(is_given, context), sources)) and sys.stdin is not None and not sys.stdin.isatty()
