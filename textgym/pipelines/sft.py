"""Supervised fine-tuning: a language model imitates the demonstrations, or references, of a task's training split."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from textgym import console
from textgym.agents.sft import TokenPair, encode_pairs, response_loss, supervised_fine_tune
from textgym.errors import DataError
from textgym.models.language_model import LanguageModel
from textgym.pipelines.evaluate import Evaluation, Exam, make_exam, show_comparison, sit_exam, summarise, write_texts
from textgym.pipelines.interrupts import RunInterrupted, StopRequest, stop_on_request
from textgym.pipelines.model_card import write_model_card
from textgym.pipelines.settings import check_settings
from textgym.pipelines.setup import TaskChoice, describe_data, load_model, located, require_context, with_budgets
from textgym.plots import plot_loss
from textgym.rewards import resolve_reward
from textgym.runs import RunFolder
from textgym.types import Split, Task

_LOSS_PAIRS = 256
_TRIALS = 3
_LOGGED_STEPS = 10
_SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True)
class SftSettings:
    """Settings of ``textgym sft``.

    Attributes:
        choice: Task and data.
        model: Start model.
        steps: Optimiser steps; not used with ``minutes``.
        minutes: Train for about this long instead.
        limit: Use at most this many training examples.
        reward: Measured before and after; ``None`` is the task's default.
        max_prompt_tokens, max_new_tokens: Budgets; ``None`` is the task's.
        split: Held-out split that is measured on.
        eval_prompts: How many of its examples.
    """

    choice: TaskChoice
    model: str = "tiny"
    steps: int = 500
    minutes: float | None = None
    learning_rate: float = 5e-4
    batch_size: int = 32
    limit: int | None = None
    reward: str | None = None
    split: Split = "validation"
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    eval_prompts: int = 200
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "limit", "eval_prompts", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, positive=("minutes", "learning_rate"))


class _Stop(Exception):  # noqa: N818 - no error: the way out of the training loop
    """The user wants to stop after this step."""


@dataclass(frozen=True, slots=True)
class _StepReport:
    """Called after every optimiser step: logs, shows, stops."""

    run: RunFolder
    losses: list[float]
    request: StopRequest
    ticker: console.Ticker

    def __call__(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        recent = float(np.mean(self.losses[-_LOGGED_STEPS:]))
        self.ticker.advance(1, note=f"loss {recent:.3f}")
        if (step + 1) % _LOGGED_STEPS == 0:
            self.run.append_log({"step": step + 1, "loss": recent})
        if self.request.wanted:
            raise _Stop


def run_sft(settings: SftSettings) -> RunFolder:
    """Fine-tune, with measures before and after on a held-out split."""
    start = time.perf_counter()
    settings = located(settings)
    train, held_out = (_make_task(settings, split) for split in ("train", settings.split))
    reward = resolve_reward(held_out.default_reward if settings.reward is None else settings.reward, held_out)
    exam = make_exam(held_out, reward, settings.eval_prompts, settings.seed)
    model = load_model(settings.model, settings.device)
    require_context(model, train)
    pairs = encode_pairs(train, train.dataset, model.tokenizer, settings.limit, model.context_length)
    held_out_pairs = _held_out_pairs(held_out, model)
    step_seconds = _time_of_a_step(model, pairs, settings)
    steps = settings.steps if settings.minutes is None else max(1, int(settings.minutes * 60 / step_seconds))
    run = RunFolder.create(settings.out, "sft", asdict(settings))
    console.say(
        f"Supervised fine-tuning of {settings.model} on {len(pairs):,} texts of {describe_data(train)}: {steps:,} "
        f"steps of {settings.batch_size} texts, about {console.duration(steps * step_seconds)}, and "
        f"{len(exam.examples)} held-out prompts before and after. Files: {run.path}"
    )
    before = sit_exam(exam, model, "before", model)
    write_texts(run, "before", exam, before)
    loss_before = _mean_loss(model, held_out_pairs)
    begun = time.perf_counter()
    _train(run, model, pairs, settings, steps)
    seconds = {"before": before.seconds, "training": time.perf_counter() - begun}
    reference = load_model(settings.model, settings.device)
    after = sit_exam(exam, model, "after", reference)
    write_texts(run, "after", exam, after)
    seconds |= {"after": after.seconds, "total": time.perf_counter() - start}
    losses = {"before": loss_before, "after": _mean_loss(model, held_out_pairs)}
    _write_results(run, settings, train, before, after, seconds, losses)
    _show(run, exam, before, after, losses)
    return run


def _make_task(settings: SftSettings, split: Split) -> Task:
    return with_budgets(settings.choice.make(split), settings.max_prompt_tokens, settings.max_new_tokens)


def _train(run: RunFolder, model: LanguageModel, pairs: Sequence[TokenPair], settings: SftSettings, steps: int) -> None:
    """Train in place and save; an interrupted run saves what it has.

    Raises:
        RunInterrupted: The user stopped it.
    """
    losses: list[float] = []
    stopped = False
    with (
        stop_on_request("finishing this step and saving the model") as request,
        console.progress("training", steps, "steps") as ticker,
    ):
        try:
            supervised_fine_tune(
                model,
                pairs,
                steps=steps,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                seed=settings.seed,
                progress=_StepReport(run, losses, request, ticker),
            )
        except _Stop:
            stopped = True
    model.save_pretrained(run.model)
    plot_loss(run.path / "learning_curve.png", losses, "loss, nats per token")
    if stopped:
        raise RunInterrupted(f"Saved {run.model} after {len(losses)} steps. Train it on with: --model {run.path}")


def _time_of_a_step(model: LanguageModel, pairs: Sequence[TokenPair], settings: SftSettings) -> float:
    """Return the seconds of a forward and backward pass, by trying; no weight changes."""
    rng = np.random.default_rng(settings.seed)
    times = []
    for _ in range(_TRIALS):
        batch = [pairs[row] for row in rng.integers(len(pairs), size=settings.batch_size)]
        start = time.perf_counter()
        response_loss(model, batch).backward()
        times.append(time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    return min(times)


def _held_out_pairs(task: Task, model: LanguageModel) -> list[TokenPair]:
    """Encode held-out texts; where there is nothing to imitate or nothing fits, training goes on without their loss."""
    try:
        return encode_pairs(task, task.dataset, model.tokenizer, _LOSS_PAIRS, model.context_length)
    except DataError:
        return []


def _mean_loss(model: LanguageModel, pairs: Sequence[TokenPair]) -> float | None:
    """Mean loss per text, nats per token; ``None`` without texts."""
    if not pairs:
        return None
    chunks = [pairs[start : start + 32] for start in range(0, len(pairs), 32)]
    with torch.no_grad():
        return float(
            np.average([response_loss(model, chunk).item() for chunk in chunks], weights=list(map(len, chunks)))
        )


def _write_results(
    run: RunFolder,
    settings: SftSettings,
    train: Task,
    before: Evaluation,
    after: Evaluation,
    seconds: dict[str, float],
    losses: dict[str, float | None],
) -> None:
    """Write summary and model card."""
    summary = {**summarise(before, after), "seconds": seconds, "loss": losses}
    run.write_summary(summary)
    write_model_card(
        run.model,
        method="supervised fine-tuning",
        start_model=settings.model,
        data=describe_data(train),
        settings=asdict(settings),
        summary=summary,
    )


def _show(run: RunFolder, exam: Exam, before: Evaluation, after: Evaluation, losses: dict[str, float | None]) -> None:
    """Print what came of it."""
    console.heading(f"{len(before.texts)} held-out prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(exam, before, after, ("before", "after"), _SIDE_BY_SIDE)
    if losses["before"] is not None and losses["after"] is not None:
        console.say(f"\nHeld-out loss: {losses['before']:.3f} -> {losses['after']:.3f} nats per token")
    console.say(f"Model: {run.model}")
