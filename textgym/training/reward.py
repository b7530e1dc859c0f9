"""Fitting a reward model to feedback: what was collected, or a simulated annotator's comparisons of samples."""

from __future__ import annotations

import contextlib
import copy
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from textgym import console
from textgym.envs.choice import describe_data, with_budgets
from textgym.errors import DataError
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback import (
    BradleyTerryAnnotator,
    FeedbackStore,
    add_accuracy,
    make_questions,
    read_records,
    reward_scorer,
    write_records,
)
from textgym.feedback.types import Comparison, Question, Record
from textgym.metrics.words import count_words, first_words
from textgym.models.device import pick_device
from textgym.models.text_model import TextModel
from textgym.plots import plot_loss
from textgym.reward_models import (
    CurvePoint,
    EmbeddingRewardModel,
    FitReport,
    LearnedReward,
    PreferenceRewardModel,
    RewardEnsemble,
    TextEmbedder,
    learning_curve,
)
from textgym.reward_models.building import MOST_REFERENCES, new_embedding_reward, new_reward_model, preferred_texts
from textgym.reward_models.evidence import Candidate, graded_by, observe, read_split
from textgym.rewards import NAMED_REWARDS
from textgym.security.consent import load_attribute
from textgym.tasks.base import prompt_text
from textgym.training.interrupts import Terminated, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.recovery import (
    advising,
    advising_on_memory,
    check_data,
    describe_splits,
    resuming,
    say_other_versions,
)
from textgym.training.reward_report import draw_report, report_as_json, show_details, show_report
from textgym.training.reward_settings import NOISE, AnnotatorName, RewardSettings
from textgym.training.run_folder import RunFolder
from textgym.training.step_checkpoints import StepCheckpoints
from textgym.training.stored_settings import located
from textgym.training.tolerance import Tolerance
from textgym.types import Episode, Example, Task, episodes_of

__all__ = [
    "NOISE",
    "RECORDS",
    "AnnotatorName",
    "RewardSettings",
    "annotator_of",
    "fit_reward",
    "note_accuracy",
    "read_feedback",
    "reference_texts",
    "run_reward_fit",
    "run_reward_resume",
    "simulate_comparisons",
]

RECORDS = "feedback.jsonl"
"""File of a run that holds what its reward model was fitted to."""
_BEGINNINGS = ("checkpoints", "reward_report.png", "reward_loss.png")
_PLOT_IS_MISSING = "the reward model is not affected"
_MIX = (0.55, 0.15, 0.15, 0.15)  # second text of a pair: a sample, the reference, another's reference, the first words
_MAX_LENGTH = 512


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
        given = _read_given(settings)
        of = f"the {len(given):,} records of {settings.feedback}" if given is not None else _simulation(task, settings)
        model = _load_trunk(settings, task, samples=given is None)
        run = RunFolder.create(settings.out, "reward fit", asdict(settings), (RECORDS, *_BEGINNINGS))
        with run, advising(run, "reward fit", can_go_on=True):
            run.write_config({**run.config(), "splits": describe_splits([task])})
            console.say(f"Fitting a reward model to {of}; {_backbone(settings)}. Files: {run.shown}")
            records = given if given is not None else simulate_comparisons(settings, task, _not_none(model))
            write_records(run.path / RECORDS, records)
            _fit(run, settings, task, model, records)
    return run


def run_reward_resume(path: str, consent: Collection[str] = (), *, accept_changed_data: bool = False) -> RunFolder:
    """Go on with an interrupted run: with the feedback that it has, from the newest checkpoint of every fit.

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
        say_other_versions(run)
        task, splits = _make_task(settings), run.config().get("splits")
        check_data(splits, describe_splits([task]), task.dataset.name, accept_changed_data)
        kept = run.path / RECORDS
        known = read_records(kept) if kept.is_file() else _read_given(settings)
        model = _load_trunk(settings, task, samples=known is None)
        console.say(f"Resuming {run.shown}; {_backbone(settings)}.")
        records = known if known is not None else simulate_comparisons(settings, task, _not_none(model))
        write_records(kept, records)
        _fit(run, settings, task, model, records)
    return run


def _is_finished(run: RunFolder) -> bool:
    """Say whether everything is written; the summary comes last, and checkpoints go then."""
    return bool(run.summary()) and run.reward.is_dir() and not run.checkpoints.exists()


def _make_task(settings: RewardSettings) -> Task:
    return with_budgets(settings.choice.make("train"), settings.max_prompt_tokens, settings.max_new_tokens)


def _fit(
    run: RunFolder, settings: RewardSettings, task: Task, model: TextModel | None, records: Sequence[Record]
) -> None:
    """Fit, and write and show what came of it; checkpoints go when nothing is left to do."""
    start, checkpoints = (
        time.perf_counter(),
        StepCheckpoints(run.checkpoints, "textgym.reward_fit", settings.save_every),
    )
    curve = []
    if settings.learning_curve:
        curve = _measure_curve(settings, task, model, records, checkpoints.part("curve"))
    report = fit_reward(run, settings, task, model, records, checkpoints.part("fit"))
    with Tolerance().of("a plot", _PLOT_IS_MISSING):
        draw_report(run.path / "reward_report.png", report, curve)
    show_report(report)
    show_details(report, curve)
    seconds = {"fit": report.seconds, "total": time.perf_counter() - start}
    run.write_summary({**report_as_json(report, curve), "seconds": seconds})
    if settings.feedback is not None and _is_project(settings.feedback):
        with FeedbackStore(settings.feedback) as store:
            note_accuracy(store, report, curve)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    console.say(
        f"Reward model: {Path(run.shown) / 'reward'}   use it with: textgym train {settings.choice.env_id} --reward "
        f"{shlex.quote(run.shown)}"
    )


def read_feedback(source: str | Path) -> list[Record]:
    """Read the records of a project of ``textgym feedback``, or of JSON lines.

    Raises:
        DataError: It holds something else.
        FileNotFoundError: There is no such file.
    """
    if not _is_project(source):
        return read_records(source)
    with FeedbackStore(source) as store:
        return store.records()


def _is_project(source: str | Path) -> bool:
    """Whether a file is a database, by its first bytes (https://www.sqlite.org/fileformat.html)."""
    if not Path(source).is_file():
        return False
    with open(source, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _read_given(settings: RewardSettings) -> list[Record] | None:
    """Read the feedback that was given, if any.

    Raises:
        DataError: It cannot be read, or teaches nothing.
    """
    if settings.feedback is None:
        return None
    records = read_feedback(settings.feedback)
    read_split(records, settings.criterion, settings.held_out, settings.seed)
    return records


def _load_trunk(settings: RewardSettings, task: Task, *, samples: bool) -> TextModel | None:
    """Load the language model; ``None`` if nothing needs one.

    Args:
        settings: Which.
        task: What it samples texts about.
        samples: Whether it samples any.
    """
    if settings.embeddings is not None and not samples:
        return None
    model = load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    if samples:
        require_context(model, task)
    return model


def _not_none(model: TextModel | None) -> TextModel:
    assert model is not None
    return model


def _backbone(settings: RewardSettings) -> str:
    if settings.embeddings is not None:
        return f"a linear head on frozen embeddings by {settings.embeddings}; seconds, once all texts are embedded"
    adapters = f" with adapters of rank {settings.lora_rank}" if settings.lora_rank else ""
    count = f"{settings.members} members, " if settings.members > 1 else ""
    return f"{count}trunk {settings.model}{adapters}, {settings.epochs} epoch(s); minutes for small models"


def note_accuracy(store: FeedbackStore, report: FitReport, curve: Sequence[CurvePoint] = ()) -> None:
    """Let the dashboard of a project show how accurate a model is after so many labels."""
    for point in curve:
        add_accuracy(store, point.labels, point.accuracy)
    if report.held_out is not None:
        add_accuracy(store, report.pairs, report.accuracy)


def simulate_comparisons(settings: RewardSettings, task: Task, model: TextModel) -> list[Comparison]:
    """Let a simulated annotator compare texts about prompts of the training split.

    Args:
        settings: Who compares, how noisily, how often.
        task: On its training split; no other prompt is ever shown to an annotator.
        model: Samples the texts.
    """
    rng = np.random.default_rng(settings.seed)
    name = annotator_of(task, settings)
    examples = _draw_examples(task, settings.pairs, rng)
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, seed=settings.seed)
    sampled = sample_texts(model, task, [*examples, *examples], sampling, "sampling pairs").texts
    first, second = sampled[: len(examples)], sampled[len(examples) :]
    if name == "rouge":
        second = _mixed(examples, second, rng)
    questions = make_questions(
        [prompt_text(task, example) for example in examples], [example.key for example in examples], first, second
    )
    return _annotator(name, settings, task, examples, rng).compare(_swapped(questions, rng))


def fit_reward(
    run: RunFolder,
    settings: RewardSettings,
    task: Task,
    model: TextModel | None,
    records: Sequence[Record],
    checkpoints: StepCheckpoints | None = None,
) -> FitReport:
    """Fit to ``records``, normalise on good texts of the training split, and save to ``run``.

    Args:
        run: Gets ``reward/`` and a plot of the loss.
        settings: What to fit, and how.
        task: On its training split.
        model: The trunk, which is changed; not needed with ``settings.embeddings``.
        records: Of any kinds.
        checkpoints: Where the fit goes on from, and is kept on the way.
    """
    reward, records = _new_reward(settings, task, model), graded_by(records, settings.criterion)
    with _how_to_fit(settings, "fitting", checkpoints) as how:
        report: FitReport = reward.fit(records, validation_fraction=settings.held_out, **how)
    texts = reference_texts(task, records)
    reward.normalise([text.prompt for text in texts], [text.response for text in texts])
    reward.save(run.reward)
    if len(report.losses) > 1:
        with Tolerance().of("a plot", _PLOT_IS_MISSING):
            plot_loss(run.path / "reward_loss.png", report.losses, "negative log-likelihood of an answer, nats")
    return report


def _new_reward(
    settings: RewardSettings, task: Task, model: TextModel | None
) -> PreferenceRewardModel | RewardEnsemble | EmbeddingRewardModel:
    if settings.embeddings is not None:
        return new_embedding_reward(settings.embeddings, members=settings.members).to(pick_device(settings.device))
    longest = max(task.max_prompt_tokens + task.max_new_tokens, _MAX_LENGTH)
    return new_reward_model(
        _not_none(model), members=settings.members, max_length=longest, lora_rank=settings.lora_rank
    )


@contextlib.contextmanager
def _how_to_fit(settings: RewardSettings, title: str, checkpoints: StepCheckpoints | None) -> Iterator[dict[str, Any]]:
    """Lend arguments of ``fit`` that do not depend on the records; what takes steps shows and keeps them."""
    if settings.embeddings is not None:
        yield {"seed": settings.seed}
        return
    how: dict[str, Any] = {name: getattr(settings, name) for name in ("seed", "epochs", "batch_size", "learning_rate")}
    with console.progress(title, 1, "steps") as ticker:
        how["progress"] = _FitReporter(ticker, [])
        if checkpoints is None:  # there would be nothing to go on from
            yield how
            return
        with stop_on_request("finishing this step and saving a checkpoint") as request:
            yield {**how, "checkpoints": checkpoints.stopping_on(request)}
        if request.wanted:  # too late for a step
            raise Terminated(signal_of(request))


def _measure_curve(
    settings: RewardSettings,
    task: Task,
    model: TextModel | None,
    records: Sequence[Record],
    checkpoints: StepCheckpoints,
) -> list[CurvePoint]:
    """Accuracy against the number of records, in random order; the trunk stays as it is."""
    shuffled = [records[place] for place in np.random.default_rng(settings.seed).permutation(len(records))]
    if settings.embeddings is not None:
        embedder = TextEmbedder(settings.embeddings)  # which embeds every text once
        embedder.network.to(pick_device(settings.device))
        new_model: Callable[[], LearnedReward] = partial(EmbeddingRewardModel, embedder)
    else:
        new_model = partial(_copied_reward, settings, task, _not_none(model))
    with _how_to_fit(settings, "learning curve", checkpoints) as how:
        return learning_curve(new_model, shuffled, criterion=settings.criterion, held_out=settings.held_out, **how)


def _copied_reward(settings: RewardSettings, task: Task, model: TextModel) -> LearnedReward:
    return _new_reward(settings, task, copy.deepcopy(model))


def annotator_of(task: Task, settings: RewardSettings) -> AnnotatorName:
    """Return whom to simulate.

    Raises:
        DataError: The data cannot play that part.
    """
    example = task.dataset[0]
    knows_gold = task.gold([Episode.of(example, "")]) is not None
    name = settings.annotator or ("gold" if knows_gold else "rouge")
    if name == "gold" and not knows_gold:
        raise DataError(
            f"expected data that knows true quality for --annotator gold, got {task.dataset.name!r}; use rouge"
        )
    if name == "rouge" and not example.references:
        raise DataError(
            f"expected references for a simulated annotator, got none in {task.dataset.name!r}; name their column with "
            "--reference-column, or give --feedback"
        )
    return name


def _simulation(task: Task, settings: RewardSettings) -> str:
    scorer = {"gold": "true quality", "rouge": "ROUGE-L against the references"}[annotator_of(task, settings)]
    return f"{settings.pairs:,} simulated comparisons by {scorer} (noisy) on {describe_data(task)}"


def _annotator(
    name: AnnotatorName, settings: RewardSettings, task: Task, examples: Sequence[Example], rng: np.random.Generator
) -> BradleyTerryAnnotator:
    by_key = {example.key: example for example in examples}
    measure = _Gold(task) if name == "gold" else load_attribute(NAMED_REWARDS["rouge"])
    noise = NOISE[name] if settings.noise is None else settings.noise
    return BradleyTerryAnnotator(reward_scorer(measure, by_key), noise, rng, name=f"simulated-{name}")


@dataclass(frozen=True, slots=True)
class _Gold:
    """True quality as a reward."""

    task: Task

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> np.ndarray:
        gold = self.task.gold(episodes_of(examples, responses))
        assert gold is not None
        return gold


def _draw_examples(task: Task, n: int, rng: np.random.Generator) -> list[Example]:
    """Draw examples; none twice before all were drawn once."""
    size = len(task.dataset)
    rounds = [rng.permutation(size) if size <= n else rng.choice(size, n, replace=False) for _ in range(-(-n // size))]
    return [task.dataset[int(index)] for index in np.concatenate(rounds)[:n]]


def _mixed(examples: Sequence[Example], sampled: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Replace some second texts by others, so that the texts of a pair differ in quality.

    Two samples of a weak model overlap little with any reference: choices between them would teach almost nothing.
    """
    kinds = rng.choice(len(_MIX), size=len(examples), p=_MIX)
    others = rng.permutation(len(examples))
    texts = []
    for example, text, kind, other in zip(examples, sampled, kinds, others, strict=True):
        beginning = first_words(example.text, count_words(example.references[0]))
        stand_ins = (text, example.references[0], _reference(examples[other]), beginning)
        texts.append(stand_ins[kind])
    return texts


def _reference(example: Example) -> str:
    return example.references[0] if example.references else ""


def _swapped(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Put each pair in random order, so that the place of a text says nothing."""
    flips = rng.random(len(questions)) < 0.5
    return [
        replace(question, responses=question.responses[::-1]) if flip else question
        for question, flip in zip(questions, flips, strict=True)
    ]


def reference_texts(task: Task, records: Sequence[Record]) -> list[Candidate]:
    """Texts that count as reward 0 on average.

    References of training prompts, if the records are about the task; else the preferred texts of the records, or all
    their texts if fewer than two are preferred.
    """
    if any(_is_about(task, record) for record in records):
        examples = [task.dataset[index] for index in range(min(MOST_REFERENCES, len(task.dataset)))]
        known = [example for example in examples if example.references]
        if len(known) >= 2:
            return [Candidate(prompt_text(task, example), example.references[0]) for example in known]
    return preferred_texts(observe(records))


def _is_about(task: Task, record: Record) -> bool:
    try:
        return prompt_text(task, task.dataset.find(record.task_key)) == record.prompt
    except KeyError:
        return False
