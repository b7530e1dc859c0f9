"""The studies that train the language model: supervised fine-tuning of adapters, then RLOO, each by one command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from real import sentiment
from real.bench import Bench, Figures
from textgym.data.source import load_examples
from textgym.types import JsonObject

RANK = 16
MAX_PROMPT, MAX_NEW = 160, 32

# Texts of this project to show samples on: of the user's files, only figures go into the page.
REVIEWS: Sequence[Mapping[str, str]] = (
    {
        "sentiment": "positive",
        "text": "We booked the small hotel by the harbour for two nights and",
        "reference": "slept better than we do at home.",
    },
    {
        "sentiment": "positive",
        "text": "I bought this kettle in spring, and after a month",
        "reference": "it still boils fast and looks like new.",
    },
    {
        "sentiment": "positive",
        "text": "The dentist looked at my tooth and",
        "reference": "explained everything patiently before she began.",
    },
    {
        "sentiment": "positive",
        "text": "Our table was free at eight, and the waiter",
        "reference": "was friendly and brought us a wonderful soup.",
    },
)
DIALOGUES: Sequence[Mapping[str, str]] = (
    {
        "text": "#Person1#: Is the parcel for Mrs. Hill here?\n#Person2#: It came this morning. Do you have her card?\n"
        "#Person1#: No, I am her son. I have my own.\n#Person2#: Then I need a note from her. You can come until six.",
        "reference": "#Person1# needs a note from his mother to get her parcel from #Person2#.",
    },
    {
        "text": "#Person1#: The lift is out of order again.\n#Person2#: They send somebody on Thursday.\n"
        "#Person1#: My mother cannot take the stairs.\n#Person2#: Then she can use the one in the other wing.",
        "reference": "#Person1#'s mother can use the lift in the other wing until theirs is repaired on Thursday.",
    },
)


@dataclass(frozen=True)
class Tuning:
    """A task that the language model is trained for.

    Attributes:
        name: Name of the runs.
        env_id: Environment.
        data: Options that name the data.
        reward: Reward, as on a command line.
        wanted: Options of the task that are asked of reinforcement learning and its evaluation.
        metrics: Further measures of the evaluation.
        samples: Rows of the file of prompts that samples are shown on.
    """

    name: str
    env_id: str
    data: Sequence[str]
    reward: str
    wanted: Sequence[str]
    metrics: Sequence[str]
    samples: Sequence[Mapping[str, str]]


def run_continue(bench: Bench) -> Figures:
    """Train continuations of reviews with a wanted sentiment."""
    sentiment.folder(bench)
    file = bench.file(sentiment.REVIEWS)
    head = f"real.sentiment:Sentiment?model={sentiment.FOLDER}"
    vader = [] if file is None else ["real.sentiment:Vader"]
    data = [] if file is None else ["--data", file, "--prompt-column", "en"]
    likelihood = f"likelihood?model={bench.model}"
    wanted = ["--task-option", "sentiment=positive"]
    return _tune(bench, Tuning("continue", "TextContinue-v0", data, head, wanted, [*vader, likelihood], REVIEWS))


def run_dialogue(bench: Bench) -> Figures:
    """Train summaries of dialogues, rewarded by ROUGE-L; on fewer tokens, of prompts that are longer."""
    bench = replace(bench, size=replace(bench.size, tokens=-(-2 * bench.size.tokens // 3)), commands=bench.commands)
    file = bench.file("dialogsum.dev.jsonl")
    data = [] if file is None else ["--data", file]
    metrics = ["rouge1", "rouge2"]
    return _tune(bench, Tuning("dialogue", "TextSumm-v1", data, "rouge", [], metrics, DIALOGUES))


def commands(bench: Bench, task: Tuning) -> dict[str, list[str]]:
    """Return the arguments of ``textgym`` for each step, without ``--out``, by the name of its run."""
    size, budgets = bench.size, ["--max-prompt-tokens", str(MAX_PROMPT), "--max-new-tokens", str(MAX_NEW)]
    few = ["--eval-prompts", str(max(2, size.prompts // 8))]
    asked = [task.env_id, *task.data, *budgets]
    supervised = ["--steps", str(size.sft_steps), "--batch-size", str(size.sft_batch), "--lr", "5e-4"]
    tokens = ["--steps", str(size.tokens), "--n-envs", str(size.n_envs), "--group-size", str(size.group_size)]
    learning = ["--n-minibatches", "4", "--lr", "1e-3", "--kl-coef", "0.05", "--scale-rewards"]
    models = [f"runs/{task.name}-sft", f"runs/{task.name}"]
    compared = [option for model in (bench.model, *models) for option in ("--model", model)]
    measures = [option for metric in task.metrics for option in ("--metric", metric)]
    adapters = ["--lora-rank", str(RANK)]
    rewarded = ["--reward", task.reward]
    return {
        f"{task.name}-sft": ["sft", *asked, "--model", bench.model, *adapters, *supervised, *few],
        task.name: [
            "train", *asked, *task.wanted, "--agent", "rloo", "--model", models[0], *adapters, *rewarded, *tokens,
            *learning, *few,
        ],
        f"{task.name}-evaluation": [
            "evaluate", *asked, *task.wanted, *compared, *rewarded, *measures, "--prompts", str(size.prompts)
        ],
    }  # fmt: skip


def samples_command(bench: Bench, task: Tuning) -> list[str]:
    """Write the project's own prompts, and return the arguments that evaluate the models on them."""
    file = bench.home / "samples" / task.name / "test.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in task.samples), encoding="utf-8")
    command = commands(bench, task)[f"{task.name}-evaluation"]
    models = command[command.index("--max-prompt-tokens") : command.index("--reward")]
    columns = ["--prompt-column", "text", "--reference-column", "reference"]
    reward = ["--reward", task.reward, "--prompts", str(len(task.samples))]
    return ["evaluate", task.env_id, "--data", f"samples/{task.name}", *columns, *models, *reward]


def _tune(bench: Bench, task: Tuning) -> Figures:
    found = {name: bench.textgym(*arguments, out=name) for name, arguments in commands(bench, task).items()}
    evaluation = found[f"{task.name}-evaluation"]
    log = [json.loads(line) for line in _lines(bench, f"runs/{task.name}/log.jsonl")]
    return {
        "models": {name: row["measures"] for name, row in evaluation["models"].items()},
        "differences": evaluation["differences"],
        "prompts": evaluation["prompts"],
        "seconds": {name: each["wall_seconds"] for name, each in found.items()},
        "iterations": [_of_log(row) for row in log],
        "samples": _samples(bench, task),
    }


def _of_log(row: JsonObject) -> Figures:
    kept = ("reward", "kl", "texts", "seconds/rollout", "seconds/reference", "seconds/update")
    return {name: row[name] for name in kept if name in row}


def _samples(bench: Bench, task: Tuning) -> list[Figures]:
    """Return what each model writes to the project's own prompts."""
    name = f"{task.name}-samples"
    summary = bench.textgym(*samples_command(bench, task), out=name)
    examples = load_examples(bench.home / "samples" / task.name, "test", "text", "reference")
    keys = [examples[place].key for place in range(len(examples))]
    written = {
        model: {row["task_key"]: row["text"] for row in map(json.loads, _lines(bench, f"runs/{name}/{each['texts']}"))}
        for model, each in summary["models"].items()
    }
    return [
        {**row, "written": {model: texts[key] for model, texts in written.items()}}
        for key, row in zip(keys, task.samples, strict=True)
    ]


def _lines(bench: Bench, file: str) -> list[str]:
    return (bench.home / file).read_text(encoding="utf-8").splitlines()
