"""The runs of ``textgym reward fit``: a reward model fitted to feedback, given or simulated."""

from __future__ import annotations

import contextlib
import copy
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import numpy as np

from textgym import console
from textgym.envs.choice import EnvChoice, as_typed, describe_data, with_budgets
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.reward_guard import guarded_reward
from textgym.feedback import FeedbackStore, add_accuracy, write_records
from textgym.feedback.annotators.by_reward import AnnotatorReward, annotator_reward
from textgym.feedback.sources import is_project, read_feedback
from textgym.feedback.types import Record
from textgym.hub import SHIPPED
from textgym.models.device import pick_device
from textgym.models.text_model import TextModel
from textgym.plots import CHANCE, plot_loss
from textgym.reward_models import (
    CurvePoint,
    EmbeddingRewardModel,
    FitReport,
    PreferenceRewardModel,
    RewardEnsemble,
    Split,
    TextEmbedder,
    fit_reward_model,
    learning_curve,
)
from textgym.reward_models.building import new_embedding_reward, new_reward_model
from textgym.reward_models.evidence import A, B, Candidate, Evidence
from textgym.reward_models.fitting import Checkpoints, Progress
from textgym.training.from_run import choice_of_run
from textgym.training.interrupts import Terminated, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.long_runs import check_resumed, new_run
from textgym.training.recovery import advising_on_memory, resuming
from textgym.training.reward_feedback import (
    ReadFeedback,
    attention_of,
    choice_of_feedback,
    reference_texts,
    simulate_comparisons,
    understand,
    warn_of_bare_prompts,
    warn_of_excluded,
)
from textgym.training.reward_report import draw_report, report_as_json, show_concerns, show_details, show_report
from textgym.training.reward_settings import FitOptions, RewardSettings
from textgym.training.run_folder import RunFolder
from textgym.training.step_checkpoints import StepCheckpoints
from textgym.training.stored_settings import located
from textgym.training.tolerance import Tolerance
from textgym.types import Task

__all__ = [
    "RECORDS",
    "RewardSettings",
    "fit_reward",
    "new_reward",
    "note_accuracy",
    "run_reward_fit",
    "run_reward_resume",
]

RECORDS = "feedback.jsonl"
"""File of a run that holds what its reward model was fitted to."""
_BEGINNINGS = ("checkpoints", "reward_report.png", "reward_loss.png")
_PLOT_IS_MISSING = "the reward model is not affected"
_MAX_LENGTH = 512

FittedReward = PreferenceRewardModel | RewardEnsemble | EmbeddingRewardModel


class _Source(NamedTuple):
    """The source of the feedback of a run.

    Attributes:
        description: Description of the source, for messages.
        model: The trunk, which samples the texts that are compared; ``None`` if nothing needs one.
        collect: Function that reads or simulates the feedback.
    """

    description: str
    model: TextModel | None
    collect: Callable[[], ReadFeedback]


@dataclass(frozen=True, slots=True)
class _FitReporter:
    """Passes the progress of a fit on."""

    ticker: console.Ticker
    losses: list[float]

    def __call__(self, step: int, total: int, loss: float) -> None:
        self.losses.append(loss)
        self.ticker.resize(total)
        self.ticker.advance(1, note=f"loss {np.mean(self.losses[-20:]):.3f}")


@advising_on_memory("reward fit")
def run_reward_fit(settings: RewardSettings) -> RunFolder:
    """Collect or read feedback, fit a reward model, and write it to ``RUN/reward``."""
    with signals_as_interrupts():
        settings = located(settings)
        task = _make_task(settings)
        source = _find_feedback(settings, task, settings.feedback)
        with new_run(settings.out, "reward fit", asdict(settings), [task], (RECORDS, *_BEGINNINGS)) as run:
            console.say(f"Fitting a reward model to {source.description}; {_backbone(settings)}. Files: {run.shown}")
            feedback = source.collect()
            write_records(run.path / RECORDS, feedback.records)
            _fit(run, settings, task, source.model, feedback)
    return run


def run_reward_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Resume an interrupted run: with the feedback that it has, from the newest checkpoint of every fit.

    A run that is finished stays as it is.

    Args:
        path: The folder.
        consent: ``module:attribute`` names in its settings that may be imported: the folder may be somebody else's.
        accept_changed_data: Go on although the data is not what the run began with.

    Raises:
        ConsentError: Its settings name a module that is not among them.
        RunFolderError: The folder is no run of ``textgym reward fit``.
        DataError: The data has changed.
    """
    with resuming(path, "reward fit", consent, can_go_on=True) as run:
        settings = RewardSettings.from_json(run.settings_of("reward fit"))
        if _is_finished(run):
            console.say(f"{run.shown} is finished; its reward model is {Path(run.shown) / 'reward'}.")
            return run
        task, kept = _make_task(settings), run.path / RECORDS
        check_resumed(run, [task], accept_changed_data)
        source = _find_feedback(settings, task, kept if kept.is_file() else settings.feedback)
        console.say(f"Resuming {run.shown}; {_backbone(settings)}.")
        feedback = source.collect()
        if not kept.is_file():
            write_records(kept, feedback.records)
        elif settings.feedback is not None:
            warn_of_excluded(settings.feedback, feedback.records)
        _fit(run, settings, task, source.model, feedback)
    return run


def _is_finished(run: RunFolder) -> bool:
    """Return whether everything is written; the summary comes last, and checkpoints go then."""
    return bool(run.summary()) and run.reward.is_dir() and not run.checkpoints.exists()


def _make_task(settings: RewardSettings) -> Task:
    return with_budgets(settings.choice.make("train"), settings.max_prompt_tokens, settings.max_new_tokens)


def _find_feedback(settings: RewardSettings, task: Task, given: str | Path | None) -> _Source:
    """Read feedback that was given, or else prepare an annotator; mistakes are found here, before there is a folder.

    Raises:
        DataError: The feedback cannot be read, or teaches nothing; the data do not have what the annotator needs.
    """
    if given is not None:
        records = read_feedback(given)
        warn_of_bare_prompts(settings.choice.prompt_template, records, given)
        read = _understand(settings, records)
        model = load_model(settings.model, settings.device) if settings.embeddings is None else None
        if model is not None:
            model.tokenizer.require_eos()
        return _Source(f"the {len(read.records):,} records of {given}", model, lambda: read)
    by = annotator_reward(task, settings.annotator, guarded_reward)
    model = load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    require_context(model, task)
    what = "true quality" if by.is_gold else by.name
    description = f"{settings.pairs:,} simulated comparisons by {what} (noisy) on {describe_data(task)}"
    return _Source(description, model, partial(_simulate, settings, task, model, by))


def _simulate(settings: RewardSettings, task: Task, model: TextModel, by: AnnotatorReward) -> ReadFeedback:
    records = simulate_comparisons(task, model, settings.pairs, by, noise=settings.noise, seed=settings.seed)
    return _understand(settings, records)


def _understand(settings: RewardSettings, records: Sequence[Record]) -> ReadFeedback:
    return understand(records, settings.criterion, settings.held_out, settings.seed)


def _fit(run: RunFolder, settings: RewardSettings, task: Task, model: TextModel | None, feedback: ReadFeedback) -> None:
    """Fit, and write and show what came of it; checkpoints go when nothing is left to do."""
    start, options = time.perf_counter(), settings.fit_options()
    show_concerns(feedback.records, attention_of(settings.feedback))  # a fit to contradictions may end in an error
    checkpoints = StepCheckpoints(run.checkpoints, "textgym.reward_fit", settings.save_every)
    curve = []
    if settings.learning_curve:
        curve = _measure_curve(settings, task, model, feedback, checkpoints.part("curve"))
    reward = _new_reward(settings, task, settings.model if model is None else model)
    references = reference_texts(task, feedback.records, feedback.split)
    kept = checkpoints.part("fit")
    report = fit_reward(run, reward, feedback.split, references, seed=settings.seed, checkpoints=kept, **options)
    with Tolerance().of("a plot", _PLOT_IS_MISSING):
        draw_report(run.path / "reward_report.png", report, curve)
    show_report(report)
    show_details(report, curve)
    seconds = {"fit": report.seconds, "total": time.perf_counter() - start}
    run.write_summary({**report_as_json(report, curve), "seconds": seconds})
    if settings.feedback is not None and is_project(settings.feedback):
        with FeedbackStore(settings.feedback) as store:
            note_accuracy(store, report, curve)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    choice = choice_of_feedback(settings.choice, task, settings.feedback, feedback.records)
    console.say(f"Reward model: {Path(run.shown) / 'reward'}   {_how_to_use(run, choice, settings.model)}")


def _how_to_use(run: RunFolder, choice: EnvChoice | None, model: str) -> str:
    """Return the command that trains on a reward model, from the model that it was fitted with.

    A run brings its own data and template along, unless the fit was about others.
    """
    own, reward = choice_of_run(model), f"--reward {shlex.quote(run.shown)}"
    start = f"--model {shlex.quote(model)} " if own is not None or model not in SHIPPED else ""
    if own is not None and choice in (None, own, EnvChoice(own.env_id)):
        return f"use it with: textgym train {start}{reward}"
    if choice is None:
        return f"use it on prompts like those of the feedback: textgym train TextGen-v0 --data FILE {start}{reward}"
    return f"use it with: textgym train {as_typed(choice)} {start}{reward}"


def _backbone(settings: RewardSettings) -> str:
    if settings.embeddings is not None:
        return f"a linear head on frozen embeddings by {settings.embeddings}; seconds, once all texts are embedded"
    adapters = f" with adapters of rank {settings.lora_rank}" if settings.lora_rank else ""
    count = f"{settings.members} members, " if settings.members > 1 else ""
    return f"{count}from the model {settings.model}{adapters}, {settings.epochs} epoch(s); minutes for small models"


def note_accuracy(store: FeedbackStore, report: FitReport, curve: Sequence[CurvePoint] = ()) -> None:
    """Let the dashboard of a project show how accurate a model is after so many labels."""
    for point in curve:
        add_accuracy(store, point.labels, point.accuracy)
    if report.held_out is not None:
        add_accuracy(store, report.pairs, report.accuracy)


def fit_reward(
    run: RunFolder,
    reward: FittedReward,
    split: Split,
    references: Sequence[Candidate],
    *,
    seed: int = 0,
    checkpoints: StepCheckpoints | None = None,
    **options: Unpack[FitOptions],
) -> FitReport:
    """Fit a reward model with a progress bar, normalise it on good texts, and save it to ``run``.

    Args:
        run: Run folder, to which ``reward/`` and a plot of the loss are written.
        reward: The model; trained in place.
        split: Training and held-out evidence from the feedback.
        references: Texts whose mean reward is normalised to 0.
        seed: Random seed of the fit.
        checkpoints: Checkpoints that the fit resumes from and saves; ``None`` for none.
        options: Options of a fit in steps, such as ``epochs``; a head on embeddings, fitted by L-BFGS, takes none.
    """
    if isinstance(reward, EmbeddingRewardModel):
        report = fit_reward_model(reward, split, references=references, seed=seed)
    else:
        with _in_steps("fitting", checkpoints) as shown:
            report = fit_reward_model(reward, split, references=references, seed=seed, **options, **shown)
    reward.save(run.reward)
    if len(report.losses) > 1:
        with Tolerance().of("a plot", _PLOT_IS_MISSING):
            plot_loss(
                run.path / "reward_loss.png",
                report.losses,
                "negative log-likelihood of an answer, nats",
                chance=CHANCE if _is_pairwise(split.train) else None,
                held_out=report.held_out_losses,
                title="Fit of the reward model",
            )
    else:
        console.remark("reward_loss.png is not drawn: a single loss makes no curve.")
    return report


def _is_pairwise(evidence: Evidence) -> bool:
    """Return whether all answers are choices of one of two texts, of which each half is chance."""
    return all(each.form == "choice" and each.answer[0] in (A, B) for each in evidence.observations)


def new_reward(
    task: Task,
    trunk: str | TextModel,
    *,
    embeddings: str | None = None,
    members: int = 1,
    lora_rank: int | None = None,
    device: str = "auto",
) -> FittedReward:
    """Return an unfitted reward model that reads the texts of a task whole, as long as its trunk does.

    Args:
        task: Task whose texts the model scores.
        trunk: Language model below the reward head, or its name; trained in place.
        embeddings: Fit a head on this model's embeddings instead of the trunk.
        members: Number of models that are averaged.
        lora_rank: Rank of low-rank adapters, which alone are trained; ``None`` trains all weights.
        device: Device of the embeddings; a trunk stays on its own device.
    """
    if embeddings is not None:
        return new_embedding_reward(embeddings, members=members).to(pick_device(device))
    longest = max(task.max_prompt_tokens + task.max_new_tokens, _MAX_LENGTH)
    return new_reward_model(trunk, members=members, max_length=longest, lora_rank=lora_rank)


def _new_reward(settings: RewardSettings, task: Task, trunk: str | TextModel) -> FittedReward:
    return new_reward(
        task,
        trunk,
        embeddings=settings.embeddings,
        members=settings.members,
        lora_rank=settings.lora_rank,
        device=settings.device,
    )


class _InSteps(TypedDict, total=False):
    """Arguments of a fit in steps that is watched."""

    progress: Progress
    checkpoints: Checkpoints


@contextlib.contextmanager
def _in_steps(title: str, checkpoints: StepCheckpoints | None) -> Iterator[_InSteps]:
    """Show the steps of a fit, and keep them where there are checkpoints to resume from."""
    with console.progress(title, 1, "steps") as ticker:
        reporter = _FitReporter(ticker, [])
        if checkpoints is None:
            yield {"progress": reporter}
            return
        with stop_on_request("finishing this step and saving a checkpoint") as request:
            yield {"progress": reporter, "checkpoints": checkpoints.stopping_on(request)}
        if request.wanted:  # too late for a step
            raise Terminated(signal_of(request))


def _measure_curve(
    settings: RewardSettings,
    task: Task,
    model: TextModel | None,
    feedback: ReadFeedback,
    checkpoints: StepCheckpoints,
) -> list[CurvePoint]:
    """Accuracy against the number of records, in random order; the trunk stays as it is."""
    order = np.random.default_rng(settings.seed).permutation(len(feedback.usable))
    measure = partial(
        learning_curve,
        records=[feedback.usable[place] for place in order],
        held_out=settings.held_out,
        seed=settings.seed,
        read=feedback.read,
    )
    if settings.embeddings is not None:
        embedder = TextEmbedder(settings.embeddings)  # which embeds every text once
        embedder.network.to(pick_device(settings.device))
        return measure(partial(EmbeddingRewardModel, embedder))
    trunk = settings.model if model is None else model
    with _in_steps("learning curve", checkpoints) as shown:
        return measure(lambda: _new_reward(settings, task, copy.deepcopy(trunk)), **settings.fit_options(), **shown)
