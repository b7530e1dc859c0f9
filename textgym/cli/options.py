"""The options of commands, each declared once. Their defaults stand in what a command runs, and nowhere else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import typer

from textgym.cli import completion

_Function = TypeVar("_Function", bound=Callable[..., None])
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def template_argument(typed: str) -> str:
    r"""Return a template that was typed in a shell, where ``\n`` is a new line, ``\t`` a tab, ``\\`` a backslash.

    >>> template_argument(r"{prompt}\n\nReply:")
    '{prompt}\n\nReply:'
    """
    return re.sub(r"\\[nt\\]", lambda found: _ESCAPES[found[0]], typed)


EnvId = Annotated[
    str,
    typer.Argument(
        metavar="ENV_ID", help="Environment id; `textgym envs` lists them.", autocompletion=completion.env_ids
    ),
]
EnvIdOrRuns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ENV_ID|RUN",
        help="Environment id, as `textgym envs` lists them; or the folders of finished runs to compare, each RUN or "
        "LABEL=RUN.",
        autocompletion=completion.env_ids_or_runs,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Data: a file, a folder, a Hugging Face dataset id, or docstrings (built in); by default the task's own.",
    ),
]
PromptColumn = Annotated[
    str | None, typer.Option("--prompt-column", help="Column of the prompts; detected by default.")
]
ReferenceColumn = Annotated[
    str | None, typer.Option("--reference-column", help="Column of the reference responses; detected by default.")
]
PromptTemplate = Annotated[
    str | None,
    typer.Option(
        "--prompt-template",
        parser=template_argument,
        metavar="TEXT",
        help=r"Text around every prompt, as '{prompt}\n\nReply:'; {name} is another column, {{ a brace, \n a new line.",
    ),
]
Difficulty = Annotated[
    str | None,
    typer.Option("--difficulty", help="Difficulty of built-in data, such as hard; `textgym envs` lists them."),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task-option",
        metavar="NAME=VALUE",
        help="Option of the task, listed by `textgym envs`; repeatable.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="Model: a shipped one such as tiny, a run folder, a Hugging Face folder, or a Hub id.",
        autocompletion=completion.models,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="<str>",
        help="Model: a shipped one such as tiny, a run folder, a Hugging Face folder, or a Hub id. Repeated: compared.",
        autocompletion=completion.models,
    ),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="<str>",
        help="Measure beside those of the task, as 'NAME?key=value': bleu, chrf, ter, meteor, bertscore, "
        "perplexity, or the name of a reward; repeatable.",
    ),
]
Episodes = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_FILE",
        help="Run folder whose episodes are scored, or one file of it, such as texts-after.jsonl.",
        autocompletion=completion.runs,
    ),
]
Reward = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="<str>",
        help="Reward: learned, rouge, gold, success, none, a run with a reward model, or module:attribute, also with a "
        "weight and options, as '0.2*NAME?key=value'; by default the task's own. Repeated, rewards add up.",
        autocompletion=completion.rewards,
    ),
]
TrainedAgent = Annotated[
    str,
    typer.Option(
        "--agent",
        help="Agent: ppo, reinforce, sft, dpo, another of docs/agents.md, or module:Class; those that have nothing to "
        "train are evaluated.",
        autocompletion=completion.agents,
    ),
]
Agent = Annotated[
    str | None,
    typer.Option(
        "--agent",
        help="Agent by name, module:Class, or a run folder; by default the language model of --model.",
        autocompletion=completion.agents_or_runs,
    ),
]
Agents = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        metavar="<str>",
        help="Agent by name, module:Class, or a run folder; by default the language model of --model. Several are "
        "compared.",
        autocompletion=completion.agents_or_runs,
    ),
]
ComparedAgents = Annotated[
    list[str] | None,
    typer.Option(
        "--agents",
        "--agent",
        metavar="<str>",
        help="Agents to compare, with commas between: names, or module:Class; LABEL=AGENT gives one another label, as "
        "for a second set of options. Repeatable.",
        autocompletion=completion.agents,
    ),
]
ComparedOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="AGENT:NAME=VALUE",
        help="Option of one of the agents, such as ppo:kl-coef=0.1; textgym train --agent NAME --help lists them. "
        "Repeatable.",
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        help="Budget of each run: tokens=N (written in training), seconds=N (of training) or labels=N (texts that the "
        "reward scores).",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Number of runs of each agent, with the seeds from --seed on.")]
CurvePoints = Annotated[
    int, typer.Option("--curve-points", help="Measurements of each run on its way, beside the one at its start.")
]
CurvePrompts = Annotated[int, typer.Option("--curve-prompts", help="Held-out prompts of each of these measurements.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
Device = Annotated[str, typer.Option("--device", help="Device: auto, cpu or cuda.")]
Out = Annotated[str | None, typer.Option("--out", help="Run folder for the results; by default a new one in runs/.")]
Split = Annotated[
    str,
    typer.Option("--split", help="Data split: train, validation or test.", autocompletion=completion.splits),
]
Temperature = Annotated[float, typer.Option("--temperature", help="Sampling temperature.")]
LearningRate = Annotated[float, typer.Option("--lr", "--learning-rate", help="Peak learning rate.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Sequences per optimizer step.")]
EvalPrompts = Annotated[
    int, typer.Option("--eval-prompts", help="Held-out prompts to evaluate on, before and after training.")
]
MaxPromptTokens = Annotated[
    int | None,
    typer.Option(
        "--max-prompt-tokens",
        help="Maximum prompt length in tokens; longer prompts are truncated at the end; by default that "
        "of the task or run.",
    ),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", help="Maximum response length in tokens; by default that of the task or run."),
]
RewardTimeout = Annotated[
    float | None,
    typer.Option("--reward-timeout", help="Time limit in seconds for one call of the reward; none by default."),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        help="Run folder to resume, with its settings; of other options, repeat only those that name a Python module.",
        autocompletion=completion.runs,
    ),
]
AcceptChangedData = Annotated[
    bool,
    typer.Option(
        "--accept-changed-data", help="With --resume: continue although the data has changed since the run began."
    ),
]
SaveEvery = Annotated[
    int,
    typer.Option(
        "--save-every",
        help="Interval between checkpoints, in iterations, or optimizer steps where nothing is sampled.",
    ),
]
Steps = Annotated[
    int,
    typer.Option("--steps", help="Training length: tokens of the agent, or optimizer steps if it samples none."),
]
Minutes = Annotated[float, typer.Option("--minutes", help="Train for about this many minutes instead of --steps.")]
NEnvs = Annotated[int, typer.Option("--n-envs", help="Parallel environments.")]
Annotator = Annotated[
    str,
    typer.Option(
        "--annotator",
        help="Reward that simulated annotators prefer by; by default gold, or else the task's main metric.",
    ),
]
Noise = Annotated[
    float,
    typer.Option(
        "--noise", help="Label noise: the score difference at which the better text is preferred in 73 % of cases."
    ),
]
Columns = Annotated[
    list[str],
    typer.Option("--column", metavar="NAME=VALUE", help="Value of another column of the prompt template; repeatable."),
]
Members = Annotated[int, typer.Option("--members", help="Ensemble size: reward models whose scores are averaged.")]
LoraRank = Annotated[
    int,
    typer.Option(
        "--lora-rank", help="Rank of LoRA adapters, which are trained instead of all weights (needs textgym[lora])."
    ),
]
Embeddings = Annotated[
    str,
    typer.Option(
        "--embeddings", help="Fit a linear head on frozen embeddings of this sentence-transformers model instead."
    ),
]

TASK: Mapping[str, object] = {
    "env_id": EnvId,
    "data": Data,
    "prompt_column": PromptColumn,
    "reference_column": ReferenceColumn,
    "prompt_template": PromptTemplate,
    "difficulty": Difficulty,
    "task_option": TaskOption,
}
BUDGETS: Mapping[str, object] = {"max_prompt_tokens": MaxPromptTokens, "max_new_tokens": MaxNewTokens}
RUN: Mapping[str, object] = {"seed": Seed, "device": Device, "out": Out}
RESUMABLE: Mapping[str, object] = {**RUN, "resume": Resume, "accept_changed_data": AcceptChangedData}


def takes(options: Mapping[str, object]) -> Callable[[_Function], _Function]:
    """Give a command options: the arguments that typer sees in its signature, all ``None`` where they are not given.

    Args:
        options: Declarations as typer reads them, by name.
    """

    def decorate(function: _Function) -> _Function:
        kinds = {"context": typer.Context, **options}
        function.__annotations__ = {**kinds, "return": None}
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as PEP 362 has it
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if name == "context" else None,
                    annotation=kind,
                )
                for name, kind in kinds.items()
            ]
        )
        return function

    return decorate
