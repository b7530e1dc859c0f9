"""Measures of language models on a fixed list of prompts, with the same seeds for every model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgym import console
from textgym.errors import TextGymError
from textgym.evaluation.measures import Measures, compare, fixed_examples, judge
from textgym.evaluation.reward_guard import guarded_reward
from textgym.evaluation.sampling import Samples, Sampling, log_probs_of_texts, sample_texts
from textgym.evaluation.settings import check_settings
from textgym.evaluation.setup import TaskChoice, describe_data, load_model, located, require_context, with_budgets
from textgym.files.paths import user_path
from textgym.models.text_model import TextModel
from textgym.rewards import reward_name
from textgym.tasks.base import prompt_text
from textgym.training.recovery import advising_on_memory
from textgym.training.run_folder import RunFolder, intervals_as_json
from textgym.types import Example, RewardFn, Split, Task

_TEXTS = "texts-{}.jsonl"
_SHOWN = 2
_DOCUMENT_CHARS = 240


@dataclass(frozen=True, slots=True)
class Exam:
    """What models are asked and how they are judged; whoever sits it gets the same prompts and seeds.

    Attributes:
        task: Formats and knows.
        examples: What is asked.
        reward: Judges; ``None`` for none.
        sampling: Budgets, temperature, seed.
    """

    task: Task
    examples: Sequence[Example]
    reward: RewardFn | None
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of an exam: a text per example, its measures, and the seconds it took."""

    texts: list[str]
    measures: Measures
    seconds: float


def make_exam(
    task: Task,
    reward: RewardFn | None,
    prompts: int,
    seed: int,
    *,
    temperature: float = 1.0,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
) -> Exam:
    """Ask about the first ``prompts`` examples of the task's split; budgets that are ``None`` are the task's.

    Raises:
        ValueError: ``prompts`` is below 1, or the split is empty.
        RewardError: The reward cannot judge a text of this task. Models are loaded for it, so whatever is wrong with
            them is raised too.
    """
    task = with_budgets(task, max_prompt_tokens, max_new_tokens)
    examples = fixed_examples(task.dataset, prompts)
    judge(task, examples[:1], [""], reward)  # what cannot judge fails here, and not after minutes of sampling
    return Exam(task, examples, reward, Sampling(task.max_prompt_tokens, task.max_new_tokens, temperature, seed))


def sit_exam(exam: Exam, model: TextModel, title: str, reference: TextModel | None = None) -> Evaluation:
    """Sample one response per prompt and judge it.

    Args:
        exam: What is asked.
        model: Who writes.
        title: What the progress bar is called.
        reference: Start model that the KL is measured to; ``model`` itself (KL 0) or ``None`` (no KL) are fine. There
            is no KL either where its tokenizer is another one, or at temperature 0, where all probability is on one
            text.
    """
    start = time.perf_counter()
    samples = sample_texts(model, exam.task, exam.examples, exam.sampling, title)
    measures = judge(exam.task, exam.examples, samples.texts, exam.reward)
    values = {
        "length": np.array([len(ids) for ids in samples.ids], dtype=np.float64),
        "eos": np.array(samples.ended, dtype=np.float64),
    }
    kl = _kl(model, reference, samples, exam.sampling.temperature)
    measures = measures.with_values(values if kl is None else {**values, "kl": kl})
    return Evaluation(samples.texts, measures, time.perf_counter() - start)


def _kl(model: TextModel, reference: TextModel | None, samples: Samples, temperature: float) -> np.ndarray | None:
    """Log pi - log ref of every text, shape (n,), both at the temperature the texts were sampled at."""
    if reference is model:
        return np.zeros(len(samples.ids))
    if reference is None or reference.tokenizer.fingerprint != model.tokenizer.fingerprint or temperature == 0:
        return None
    return log_probs_of_texts(model, samples, temperature) - log_probs_of_texts(reference, samples, temperature)


def write_texts(run: RunFolder, side: str, exam: Exam, evaluation: Evaluation) -> None:
    """Keep every text with its measures in ``texts-before.jsonl`` or ``texts-after.jsonl``."""
    names = evaluation.measures.names()
    columns = [evaluation.measures.values[name] for name in names]
    rows = zip(exam.examples, evaluation.texts, *columns, strict=True)
    run.write_rows(
        _TEXTS.format(side),
        [
            {"task_key": example.key, "text": text, "measures": dict(zip(names, numbers, strict=True))}
            for example, text, *numbers in rows
        ],
    )


def read_texts(run: RunFolder, side: str, exam: Exam) -> Evaluation | None:
    """Return what :func:`write_texts` kept; ``None`` if it is not about these examples."""
    rows = run.read_rows(_TEXTS.format(side))
    if [row["task_key"] for row in rows] != [example.key for example in exam.examples]:
        return None
    prompts = [prompt_text(exam.task, example) for example in exam.examples]
    values = {
        name: np.array([np.nan if row["measures"].get(name) is None else row["measures"][name] for row in rows])
        for name in rows[0]["measures"]
    }
    return Evaluation([row["text"] for row in rows], Measures(values, prompts), 0.0)


def summarise(before: Evaluation | None, after: Evaluation | None) -> dict[str, Any]:
    """Return the measures of both sides, their paired difference and spreads, as they stand in ``summary.json``."""
    sides = {"before": before, "after": after}
    summary: dict[str, Any] = {
        side: intervals_as_json(item.measures.intervals()) if item else {} for side, item in sides.items()
    }
    if before and after:
        summary["difference"] = intervals_as_json(compare(before.measures, after.measures))
    summary["standard_deviations"] = {side: item.measures.spreads() for side, item in sides.items() if item}
    summary["prompts"] = len((after or before).texts) if (after or before) else 0  # type: ignore[union-attr]
    return summary


def show_comparison(exam: Exam, before: Evaluation, after: Evaluation, names: tuple[str, str], shown: int) -> None:
    """Print the table of both models, then some of their texts side by side."""
    console.print_measures(
        {
            names[0]: before.measures.intervals(),
            names[1]: after.measures.intervals(),
            "difference": compare(before.measures, after.measures),
        }
    )
    for place in range(min(shown, len(exam.examples))):
        document = exam.examples[place].text
        console.print_side_by_side(names, document, (before.texts[place], after.texts[place]))


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """Settings of ``textgym evaluate``."""

    choice: TaskChoice
    model: str = "tiny"
    reference_model: str | None = None
    reward: str | None = None
    split: Split = "test"
    prompts: int = 300
    seed: int = 0
    temperature: float = 1.0
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        check_settings(self, counts=("prompts", "max_prompt_tokens", "max_new_tokens"), not_negative=("temperature",))


@advising_on_memory("evaluate")
def run_evaluate(settings: EvaluateSettings) -> RunFolder:
    """Measure one model, or a model and the one it started from, and write ``summary.json``."""
    start = time.perf_counter()
    task = settings.choice.make(settings.split)
    reward = guarded_reward(task.reward if settings.reward is None else settings.reward, task)
    exam = make_exam(
        task,
        reward,
        settings.prompts,
        settings.seed,
        temperature=settings.temperature,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
    )
    start_name = start_model_of(settings.model) if settings.reference_model is None else settings.reference_model
    against = f" and {start_name}, which it is compared with," if start_name is not None else ""
    console.say(
        f"Evaluating {settings.model}{against} on {len(exam.examples)} prompts of {describe_data(task)}, temperature "
        f"{settings.temperature:g}, reward {reward_name(reward)!r}; seconds to minutes for small models."
    )
    model = load_model(settings.model, settings.device)
    reference = load_model(start_name, settings.device) if start_name is not None else None
    for network in filter(None, (model, reference)):
        require_context(network, exam.task)
    run = RunFolder.create(settings.out, "evaluate", asdict(located(settings)))
    before = sit_exam(exam, reference, "before", reference) if reference else None
    only = sit_exam(exam, model, "after" if reference else "sampling", reference or model)
    first, second = (before, only) if before else (only, None)
    for side, evaluation in (("before", first), ("after", second)):
        if evaluation:
            write_texts(run, side, exam, evaluation)
    seconds = {"before": first.seconds, "after": second.seconds if second else 0.0}
    run.write_summary({**summarise(first, second), "seconds": {**seconds, "total": time.perf_counter() - start}})
    _show(exam, first, second)
    console.say(f"\nTexts and summary.json are in {run.path}")
    return run


def _show(exam: Exam, first: Evaluation, second: Evaluation | None) -> None:
    if second:
        show_comparison(exam, first, second, ("before", "after"), _SHOWN)
        return
    console.print_measures({"mean, 95 % interval": first.measures.intervals()})
    for example, text in list(zip(exam.examples, first.texts, strict=True))[:_SHOWN]:
        console.say()
        console.say(" ".join(example.text.split())[:_DOCUMENT_CHARS], style="dim")
        console.say(f"-> {text or '(empty)'}")


def start_model_of(model: str) -> str | None:
    """Return the model that a run started from, if ``model`` is a run folder that says so and it still exists."""
    if not (user_path(model) / "config.json").is_file():
        return None
    try:
        settings = RunFolder(model).config().get("settings", {})
    except TextGymError:
        return None
    name = settings.get("model") if isinstance(settings, dict) else None
    moved = isinstance(name, str) and name.startswith("/") and not Path(name).is_dir()
    return name if isinstance(name, str) and not moved else None
