"""The whole pipeline on the built-in reports: comparisons, a reward model, PPO, and its evaluation."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from textgym import console
from textgym.envs.choice import EnvChoice
from textgym.evaluation.core import Evaluation, evaluate
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.measures import Measures, score_responses
from textgym.feedback import write_records
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.models.text_model import TextModel
from textgym.reward_models import FitReport
from textgym.reward_models.evidence import read_split
from textgym.rlhf.rounds import quality_measure
from textgym.rlhf.settings import DEMO, DemoSettings
from textgym.training.curves import SHEET
from textgym.training.interrupts import signals_as_interrupts
from textgym.training.preparation import Training, begin
from textgym.training.reward import RECORDS, fit_reward, new_reward
from textgym.training.reward_feedback import reference_texts, simulate_comparisons
from textgym.training.reward_report import report_as_json, show_report
from textgym.training.run_folder import RunFolder, intervals_as_json
from textgym.training.stored_settings import stable_name
from textgym.training.train import finish
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import Interval, Task

__all__ = ["CEILING", "DOCUMENTED", "ENV_ID", "DemoSettings", "gap_closed", "remarks", "run_demo", "training_of"]

DOCUMENTED = Interval(0.72, 0.63, 0.80)
"""Held-out accuracy of the reward model of the default settings, as it stands in docs/demo.md."""
CEILING = 0.84
"""The highest accuracy that the noise of the demo's simulated annotator allows, on average."""
ENV_ID = "TextSumm-v1"


def run_demo(settings: DemoSettings) -> RunFolder:
    """Run all of it into one folder."""
    with signals_as_interrupts():
        return _run(settings)


def _run(settings: DemoSettings) -> RunFolder:
    start = time.perf_counter()
    choice = EnvChoice(ENV_ID)
    settings = replace(settings, model=stable_name(settings.model))
    task, model = choice.make("train"), load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    require_context(model, task)
    run = RunFolder.create(settings.out, "demo", asdict(settings))
    console.say(
        f"Demo, about 5 minutes on 2 cores: {settings.pairs:,} simulated comparisons -> reward model -> "
        f"{settings.iterations} iterations of PPO -> {settings.eval_prompts} held-out prompts. Files: {run.shown}; "
        f"while PPO trains, look at {Path(run.shown) / SHEET}"
    )
    with run:
        console.heading("1. A reward model from noisy preferences")
        _fit(run, settings, task, model)
        console.heading("2. PPO from the shipped language model")
        training = begin(training_of(run, settings, choice), run)
        before, after = finish(training)
        _report(training, before, after)
        console.heading("3. The most likely texts")
        _report_likeliest(training, settings)
        _finish_timing(run, time.perf_counter() - start)
    return run


def _fit(run: RunFolder, settings: DemoSettings, task: Task, model: TextModel) -> None:
    start, seed = time.perf_counter(), settings.seed
    records = simulate_comparisons(task, model, settings.pairs, annotator_reward(task), seed=seed)
    write_records(run.path / RECORDS, records)
    split = read_split(records, seed=seed)
    report = fit_reward(
        run,
        new_reward(task, model),
        split,
        reference_texts(task, records, split),
        seed=seed,
        epochs=settings.reward_epochs,
        learning_rate=settings.reward_learning_rate,
    )
    show_report(report)
    for text in remarks(report, settings):
        console.say(text)
    run.write_summary({**report_as_json(report), "seconds": {"reward": time.perf_counter() - start}})


def remarks(report: FitReport, settings: DemoSettings) -> list[str]:
    """Return what the figures of the demo's reward model mean: the documented ones, and what length has to do with it.

    Args:
        report: Report of the fit.
        settings: Settings of the demo; figures are documented for the default ones.
    """
    said = []
    if replace(settings, model="", device="", out=None) == DemoSettings(model="", device=""):
        said.append(
            f"docs/demo.md has an accuracy of {DOCUMENTED.mean:.2f} [{DOCUMENTED.low:.2f}, {DOCUMENTED.high:.2f}] for "
            "this command; another processor or number of threads rounds otherwise, and ends elsewhere within that "
            f"interval. The noise of the simulated annotator allows {CEILING} at most."
        )
    held_out = report.held_out
    if held_out is None or not held_out.by_length:
        return said
    rule = max(held_out.always_longer.mean, held_out.always_shorter.mean)
    if rule >= report.accuracy.mean:
        said.append(
            f"That length alone is right {rule:.0%} of the time is how these reports are made: most drafts have "
            "sentences that say nothing, and the true quality counts brevity. Whether the reward model has learned "
            "more than that shows in the true quality (gold) after PPO, which it never saw."
        )
    return said


def training_of(run: RunFolder, settings: DemoSettings, choice: EnvChoice) -> TrainSettings:
    """Return the demo's PPO settings, with the reward model of ``run``."""
    tokens = choice.make("train").max_new_tokens * settings.n_envs
    return train_settings(
        choice,
        options={**DEMO, "learning_rate": settings.learning_rate, "kl_coef": settings.kl_coef},
        model=settings.model,
        reward=str(run.reward.resolve()),
        steps=settings.iterations * tokens,
        n_envs=settings.n_envs,
        eval_prompts=settings.eval_prompts,
        seed=settings.seed,
        device=settings.device,
    )


def _report(training: Training, before: Evaluation, after: Evaluation) -> None:
    """Compare with the references: how much of the gap to them was closed."""
    run, references = training.run, _references(training)
    measure = _quality(training, references)
    sides = before.measures, after.measures, references
    closed = gap_closed(*sides, measure)
    spread = before.measures.spreads()["reward"]
    gain = float(np.mean(after.measures.values["reward"] - before.measures.values["reward"])) / spread
    known = {name: item for name, item in references.intervals().items() if name in ("reward", measure)}
    run.write_summary(
        {
            **run.summary(),
            "references": intervals_as_json(known),
            "gap_closed": closed,
            "reward_gain_in_standard_deviations": gain,
        }
    )
    start, end, goal = (_mean(each, measure) for each in sides)
    console.say(
        f"The learned reward changed by {gain:+.2f} standard deviations of the reference model's samples. The true "
        f"quality ({measure}), which the reward model never saw, went from {start:.3f} to {end:.3f}; the reference "
        f"summaries reach {goal:.3f}: {closed:.0%} of the gap is closed."
    )


def _report_likeliest(training: Training, settings: DemoSettings) -> None:
    """Compare the texts at temperature 0: what has changed there is no mere sharpening of what was likely before."""
    eval_set, references = training.eval_set, _references(training)
    likeliest = replace(eval_set, sampling=replace(eval_set.sampling, temperature=0.0))
    start_model = load_model(settings.model, settings.device)
    before = evaluate(start_model, likeliest, title="before, temperature 0").measures
    after = evaluate(training.agent, likeliest, title="after, temperature 0", tokenizer=settings.model).measures
    measure = _quality(training, references)
    closed = gap_closed(before, after, references, measure)
    sides = {side: intervals_as_json(each.intervals()) for side, each in (("before", before), ("after", after))}
    training.run.write_summary(
        {**training.run.summary(), "temperature_0": {**sides, "gap_closed": closed}},
    )
    start, end = (each.intervals()[measure] for each in (before, after))
    console.say(
        f"At temperature 0, {measure} went from {start.mean:.3f} [{start.low:.3f}, {start.high:.3f}] to {end.mean:.3f} "
        f"[{end.low:.3f}, {end.high:.3f}]: {closed:.0%} of the gap is closed. A policy that had only become surer of "
        "what it wrote before would write the same texts there."
    )


def _finish_timing(run: RunFolder, seconds: float) -> None:
    summary = run.summary()
    run.write_summary({**summary, "seconds": {**summary["seconds"], "total": seconds}})
    console.say(f"Total time: {console.duration(seconds)}.")


def _references(training: Training) -> Measures:
    eval_set = training.eval_set
    texts = [example.references[0] for example in eval_set.examples]
    return score_responses(eval_set.task, eval_set.examples, texts, eval_set.reward)


def _quality(training: Training, references: Measures) -> str:
    measure = quality_measure(references.values, training.eval_set.task.main_metric)
    assert measure is not None  # the built-in reports know the true quality
    return measure


def gap_closed(before: Measures, after: Measures, references: Measures, measure: str = "gold") -> float:
    """Return the share of the start model's distance to the references, in one measure, that is gone."""
    start, end, goal = (_mean(each, measure) for each in (before, after, references))
    return (end - start) / (goal - start) if goal != start else 0.0


def _mean(measures: Measures, name: str) -> float:
    return float(measures.values[name].mean())
