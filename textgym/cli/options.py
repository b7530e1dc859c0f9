"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

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
Model = Annotated[
    str, typer.Option("--model", help="tiny (shipped), a run folder, a Hugging Face folder, or a Hub id.")
]
Reward = Annotated[
    str | None,
    typer.Option("--reward", help="learned, rouge, gold, a run with a reward model, or module:attribute."),
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
BatchSize = Annotated[int, typer.Option("--batch-size", help="Texts per optimiser step.")]
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
SaveEvery = Annotated[int, typer.Option("--save-every", help="Optimiser steps between checkpoints.")]
