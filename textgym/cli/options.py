"""The options of commands, each declared once. Their defaults stand in what a command runs, and nowhere else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import typer

_Function = TypeVar("_Function", bound=Callable[..., None])
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def template_argument(typed: str) -> str:
    r"""Return a template that was typed in a shell, where ``\n`` is a new line, ``\t`` a tab, ``\\`` a backslash.

    >>> template_argument(r"{prompt}\n\nReply:")
    '{prompt}\n\nReply:'
    """
    return re.sub(r"\\[nt\\]", lambda found: _ESCAPES[found[0]], typed)


EnvId = Annotated[str, typer.Argument(metavar="ENV_ID", help="Environment, as `textgym envs` lists them.")]
Data = Annotated[
    str | None, typer.Option("--data", help="reports, docstrings, a file, a folder, or a Hugging Face data set id.")
]
PromptColumn = Annotated[
    str | None, typer.Option("--prompt-column", help="Column of the documents; guessed by default.")
]
ReferenceColumn = Annotated[
    str | None, typer.Option("--reference-column", help="Column of the summaries; guessed by default.")
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
Model = Annotated[
    str, typer.Option("--model", help="tiny (shipped), a run folder, a Hugging Face folder, or a Hub id.")
]
Reward = Annotated[
    str | None,
    typer.Option(
        "--reward", help="learned, rouge, gold, success, none, a run with a reward model, or module:attribute."
    ),
]
TrainedAgent = Annotated[
    str, typer.Option("--agent", help="ppo, reinforce, sft, or module:Class; random, scripted, ... are evaluated only.")
]
Agent = Annotated[
    str | None,
    typer.Option("--agent", help="An agent by name, module:Class, or a run folder; by default the language model."),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Out = Annotated[str | None, typer.Option("--out", help="Run folder to make; by default a new one in runs/.")]
Split = Annotated[str, typer.Option("--split", help="train, validation or test.")]
Temperature = Annotated[float, typer.Option("--temperature", help="Divides the logits.")]
LearningRate = Annotated[float, typer.Option("--lr", help="Peak learning rate.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Texts per optimizer step.")]
EvalPrompts = Annotated[int, typer.Option("--eval-prompts", help="Held-out prompts to measure on, before and after.")]
MaxPromptTokens = Annotated[
    int | None, typer.Option("--max-prompt-tokens", help="Longest prompt; longer documents are cut at the end.")
]
MaxNewTokens = Annotated[int | None, typer.Option("--max-new-tokens", help="Longest response.")]
RewardTimeout = Annotated[
    float | None, typer.Option("--reward-timeout", help="Seconds that the reward may take for the texts of a step.")
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        help="Go on with this run, which keeps its settings; repeat only ENV_ID or --reward that name a module.",
    ),
]
AcceptChangedData = Annotated[
    bool, typer.Option("--accept-changed-data", help="With --resume: go on although the data is another by now.")
]
SaveEvery = Annotated[int, typer.Option("--save-every", help="Iterations, or optimizer steps, between checkpoints.")]
Steps = Annotated[int, typer.Option("--steps", help="Time steps to train for: tokens, or optimizer steps.")]
Minutes = Annotated[float, typer.Option("--minutes", help="Train this long instead.")]
NEnvs = Annotated[int, typer.Option("--n-envs", help="Texts written side by side.")]
Annotator = Annotated[
    str, typer.Option("--annotator", help="Reward that simulated annotators compare by, such as gold or rouge.")
]
Noise = Annotated[float, typer.Option("--noise", help="Score difference that is seen 73 % of the time.")]
Members = Annotated[int, typer.Option("--members", help="Reward models to average.")]
Embeddings = Annotated[
    str, typer.Option("--embeddings", help="Fit a head on this sentence-transformers model's embeddings instead.")
]

TASK: Mapping[str, object] = {
    "env_id": EnvId,
    "data": Data,
    "prompt_column": PromptColumn,
    "reference_column": ReferenceColumn,
    "prompt_template": PromptTemplate,
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
