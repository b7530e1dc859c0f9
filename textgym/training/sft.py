"""Supervised fine-tuning: a language model imitates the demonstrations, or references, of a task's training split."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgym import console
from textgym.agents.sft import SFT, TokenPair, encode_pairs, response_loss
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, describe_data, with_budgets
from textgym.errors import CheckpointError, DataError
from textgym.evaluation.core import Evaluation, EvaluationSet, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.reward_guard import guarded_reward
from textgym.models.text_model import TextModel
from textgym.plots import plot_loss
from textgym.training.interrupts import RunInterrupted, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.model_card import write_model_card
from textgym.training.recovery import (
    advising,
    advising_on_memory,
    check_data,
    describe_splits,
    how_to_resume,
    resuming,
    say_other_versions,
)
from textgym.training.results import read_texts, show_comparison, summarise, write_texts
from textgym.training.run_folder import RunFolder
from textgym.training.step_checkpoints import StepCheckpoints
from textgym.training.stored_settings import located, settings_from_json
from textgym.training.tolerance import Tolerance
from textgym.training.train_settings import OptionValue, checked_options
from textgym.types import Split, State, Task

_LOSS_PAIRS = 256
_TRIALS = 3
_LOGGED_STEPS = 10
_SIDE_BY_SIDE = 2
_PLOT = "learning_curve.png"
_BEGINNINGS = ("log.jsonl", "summary.json", "texts-before.jsonl", "checkpoints")  # of a run without a checkpoint


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
        save_every: Steps between checkpoints.
        options: Further arguments of :class:`~textgym.agents.sft.SFT`; those that are fields here set these.
    """

    choice: EnvChoice
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
    save_every: int = 100
    seed: int = 0
    device: str = "auto"
    out: str | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {each.name for each in fields(self)}
        for name in self.options.keys() & names:
            object.__setattr__(self, name, self.options[name])
        rest = {name: value for name, value in self.options.items() if name not in names}
        object.__setattr__(self, "options", checked_options("sft", rest))
        counts = ("steps", "batch_size", "limit", "eval_prompts", "save_every", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, positive=("minutes", "learning_rate"))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> SftSettings:
        """Read what ``dataclasses.asdict`` wrote."""
        return settings_from_json(cls, record)


@dataclass(frozen=True, slots=True)
class _Tuning:
    """A run that is under way."""

    run: RunFolder
    settings: SftSettings
    train: Task
    eval_set: EvaluationSet
    training: SFT
    model: TextModel
    steps: int
    held_out_pairs: list[TokenPair]
    texts: int
    step_seconds: float


def run_sft(settings: SftSettings) -> RunFolder:
    """Fine-tune, with measures before and after on a held-out split."""
    with signals_as_interrupts(), advising_on_memory("sft"):
        tuning = _begin(located(settings), None)
        with tuning.run:
            _announce(tuning)
            _finish(tuning)
    return tuning.run


def run_sft_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Go on with an interrupted run from its newest checkpoint; one that was stopped before its first begins again.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        accept_changed_data: Go on although the data is not what the run began with.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no run of ``textgym sft``.
        CheckpointError: There are checkpoints, and none is whole.
        DataError: The data has changed.
    """
    with resuming(path, "sft", consent) as run:
        settings = SftSettings.from_json(run.settings_of("sft"))
        say_other_versions(run)
        tuning = _begin(settings, run, accept_changed_data)
        had_checkpoints = any(run.checkpoints.glob("step-*"))
        if _checkpoints(run, settings).restore(
            lambda tensors, record, _: tuning.training.set_state(State(tensors, record))
        ):
            step = tuning.training.num_timesteps
            run.truncate_logs(step, "step")
            console.say(f"Resuming {run.shown} from step {step:,} of {tuning.steps:,}.")
        elif had_checkpoints:
            raise CheckpointError(
                f"expected a checkpoint in {str(run.checkpoints)!r}, got none that is whole; start a new run"
            )
        else:
            run.truncate_logs(-1, "step")
            console.say(f"{run.shown} has no checkpoint yet: it begins again.")
        _announce(tuning)
        _finish(tuning)
    return run


def _begin(settings: SftSettings, run: RunFolder | None, accept_changed_data: bool = False) -> _Tuning:
    """Load everything, and make the folder last, so that mistakes leave none behind."""
    train, held_out = (_make_task(settings, split) for split in ("train", settings.split))
    reward = guarded_reward(held_out.reward if settings.reward is None else settings.reward, held_out)
    eval_set = make_evaluation_set(held_out, reward, settings.eval_prompts, settings.seed)
    model = load_model(settings.model, settings.device)
    require_context(model, train)
    pairs = encode_pairs(train, train.dataset, model.tokenizer, settings.limit, model.context_length)
    splits = describe_splits((train, held_out))
    steps, seconds = settings.steps, _time_of_a_step(model, pairs, settings)
    if run is None:
        if settings.minutes is not None:
            steps = max(1, int(settings.minutes * 60 / seconds))
        run = RunFolder.create(settings.out, "sft", asdict(settings), _BEGINNINGS)
        run.write_config({**run.config(), "steps": steps, "splits": splits})
    else:
        steps = run.config().get("steps", steps)
        check_data(run.config().get("splits"), splits, train.dataset.name, accept_changed_data)
        run.write_config({**run.config(), "splits": splits, "steps": steps})
    training = SFT(
        model,
        pairs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        **settings.options,  # type: ignore[arg-type]  # checked against its constructor
    )
    training.begin(steps)
    held_out_pairs = _held_out_pairs(held_out, model)
    return _Tuning(run, settings, train, eval_set, training, model, steps, held_out_pairs, len(pairs), seconds)


def _announce(tuning: _Tuning) -> None:
    """Say what will happen, or what is left of it, and how long it takes."""
    settings, left = tuning.settings, tuning.steps - tuning.training.num_timesteps
    console.say(
        f"Supervised fine-tuning of {settings.model} on {tuning.texts:,} texts of "
        f"{describe_data(tuning.train)}: {left:,} steps of {settings.batch_size} texts, about "
        f"{console.duration(left * tuning.step_seconds)}, and {len(tuning.eval_set.examples)} held-out prompts before "
        f"and after. Files: {tuning.run.shown}"
    )


def _finish(tuning: _Tuning) -> None:
    """Do what is left of a run: measure, train, measure again, write everything down, show it."""
    run, eval_set, model, start = tuning.run, tuning.eval_set, tuning.model, time.perf_counter()
    with advising(run, "sft"):
        before, loss_before = _measure_before(tuning)
        begun = time.perf_counter()
        _train(tuning)
        seconds = {"before": before.seconds, "training": time.perf_counter() - begun}
        start_model = load_model(tuning.settings.model, tuning.settings.device)
        after = evaluate(model, eval_set, reference=start_model, title="after")
        write_texts(run, "after", eval_set, after)
        seconds |= {"after": after.seconds, "total": time.perf_counter() - start}
        losses = {"before": loss_before, "after": _mean_loss(model, tuning.held_out_pairs)}
        _write_results(run, tuning.settings, tuning.train, before, after, seconds, losses)
        _show(run, eval_set, before, after, losses)


def _measure_before(tuning: _Tuning) -> tuple[Evaluation, float | None]:
    """Measure the start model and its held-out loss, or read what was measured before an interruption."""
    run, known = tuning.run, read_texts(tuning.run, "before", tuning.eval_set)
    if known is not None and "loss" in run.summary():
        return known, run.summary()["loss"]["before"]
    model = (
        tuning.model if not tuning.training.num_timesteps else load_model(tuning.settings.model, tuning.settings.device)
    )
    before = evaluate(model, tuning.eval_set, reference=model, title="before")
    loss = _mean_loss(model, tuning.held_out_pairs)
    write_texts(run, "before", tuning.eval_set, before)
    run.write_summary({**run.summary(), **summarise(before, None), "loss": {"before": loss}})
    return before, loss


def _make_task(settings: SftSettings, split: Split) -> Task:
    return with_budgets(settings.choice.make(split), settings.max_prompt_tokens, settings.max_new_tokens)


def _train(tuning: _Tuning) -> None:
    """Make the steps that are left, with checkpoints on the way, and save the model.

    Raises:
        RunInterrupted: The user stopped it; a checkpoint is there.
    """
    run, training, steps, tolerance = tuning.run, tuning.training, tuning.steps, Tolerance()
    checkpoints = _checkpoints(run, tuning.settings)
    with (
        stop_on_request("finishing this step and saving a checkpoint") as request,
        console.progress("training", max(1, steps - training.num_timesteps), "steps") as ticker,
    ):
        while training.num_timesteps < steps and not request.wanted:
            training.advance()
            recent = float(np.mean(training.losses[-_LOGGED_STEPS:]))
            ticker.advance(1, note=f"loss {recent:.3f}")
            if training.num_timesteps % _LOGGED_STEPS == 0:
                with tolerance.of("log.jsonl"):
                    run.append_log({"step": training.num_timesteps, "loss": recent})
            checkpoints.save_if_due(training.num_timesteps, steps, training.get_state)
        if training.num_timesteps:
            checkpoints.save(training.num_timesteps, training.get_state)
    tuning.model.save_pretrained(run.model)
    with tolerance.of("a plot"):
        plot_loss(run.path / _PLOT, training.losses, "loss, nats per token")
    if request.wanted:
        raise RunInterrupted(
            f"Saved after {training.num_timesteps:,} of {steps:,} steps. Go on with: {how_to_resume(run, 'sft')}",
            signal_of(request),
        )


def _checkpoints(run: RunFolder, settings: SftSettings) -> StepCheckpoints:
    return StepCheckpoints(run.checkpoints, SFT.kind, settings.save_every)


def _time_of_a_step(model: TextModel, pairs: Sequence[TokenPair], settings: SftSettings) -> float:
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


def _held_out_pairs(task: Task, model: TextModel) -> list[TokenPair]:
    """Encode held-out texts; where there is nothing to imitate or nothing fits, training goes on without their loss."""
    try:
        return encode_pairs(task, task.dataset, model.tokenizer, _LOSS_PAIRS, model.context_length)
    except DataError:
        return []


def _mean_loss(model: TextModel, pairs: Sequence[TokenPair]) -> float | None:
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


def _show(
    run: RunFolder,
    eval_set: EvaluationSet,
    before: Evaluation,
    after: Evaluation,
    losses: dict[str, float | None],
) -> None:
    """Print what came of it."""
    console.heading(f"{len(before.texts)} held-out prompts, temperature 1, same seeds; means with 95 % intervals")
    show_comparison(eval_set, before, after, ("before", "after"), _SIDE_BY_SIDE)
    if losses["before"] is not None and losses["after"] is not None:
        console.say(f"\nHeld-out loss: {losses['before']:.3f} -> {losses['after']:.3f} nats per token")
    console.say(f"Model: {Path(run.shown) / 'model'}   curve: {Path(run.shown) / _PLOT}")
