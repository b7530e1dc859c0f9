"""One run of a comparison: an ordinary run folder of ``textgym train``, and the small record of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from textgym.agents.common.health import all_concerns
from textgym.agents.facts import unit_of
from textgym.agents.registry import can_learn
from textgym.envs.choice import EnvChoice
from textgym.errors import RunFolderError
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.episodes import transcript
from textgym.metrics import self_bleu
from textgym.metrics.intervals import mean_interval
from textgym.security.consent import names_from, names_module
from textgym.tasks.base import prompt_text
from textgym.training.comparison.budget import NOTHING
from textgym.training.comparison.meter import Meter, part_of, points_of, read_spent, spent_of
from textgym.training.comparison.planning import plan_runs
from textgym.training.comparison.records import Point, RunRecord, Sample, write_record
from textgym.training.comparison.settings import ComparisonSettings
from textgym.training.evaluate import begin_without_training, complete_without_training
from textgym.training.interrupts import signals_as_interrupts
from textgym.training.machine import describe_machine, peak_gpu_memory, peak_memory
from textgym.training.preparation import begin, resume
from textgym.training.recovery import advising_on_memory
from textgym.training.results import read_texts
from textgym.training.run_folder import RunFolder
from textgym.training.run_warnings import reference_rewards
from textgym.training.stored_settings import located
from textgym.training.train import complete
from textgym.training.train_settings import TrainSettings
from textgym.types import Interval, JsonObject
from textgym.values import is_number, walk
from textgym.versions import versions

DIVERSITY = "diversity"
_SAMPLES = 4
_LONGEST = 2000  # characters of a prompt or text


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A part of a comparison, as it is handed to another process.

    Attributes:
        settings: Settings of the comparison.
        label: Label of an agent.
        folder: Where its files go: those of the run, or of a trial.
        run: The run to make; ``None`` asks for a plan of the agent's runs.
    """

    settings: ComparisonSettings
    label: str
    folder: Path
    run: RunOrder | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, record: JsonObject) -> Job:
        """Read a job from the process that has checked it."""
        settings, order = record["settings"], record["run"]
        return cls(
            settings=ComparisonSettings(**{**settings, "choice": EnvChoice(**settings["choice"])}),
            label=record["label"],
            folder=Path(record["folder"]),
            run=None if order is None else RunOrder(**order),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """A run to make.

    Attributes:
        seed: Seed of the run.
        file: Where its record goes.
        identity: Settings that must be the same for all runs it is compared with.
        steps, limit: The plan of the agent's runs; ``None`` leaves them to the agent.
        apart: Whether the process makes nothing else, so that its memory is that of the run.
    """

    seed: int
    file: str
    identity: JsonObject
    steps: int | None = None
    limit: int | None = None
    apart: bool = True


def work(job: JsonObject) -> JsonObject:
    """Do a :class:`Job`, as another process asks for it; returns a plan, or nothing beside the record that is written.

    The process may be stopped at any time: a run that has begun in a folder goes on from there.
    """
    asked = Job.from_json(job)
    with signals_as_interrupts(), advising_on_memory("compare"):
        if asked.run is None:
            return plan_runs(asked.settings, asked.label, asked.folder)._asdict()
        write_record(Path(asked.run.file), _make_run(asked.settings, asked.label, asked.folder, asked.run))
    return {}


def _make_run(settings: ComparisonSettings, label: str, folder: Path, order: RunOrder) -> RunRecord:
    """Train, or only evaluate, or go on with either; and read the record from the folder."""
    kind = settings.kind_of(label)
    own = located(settings.of_run(label, order.seed, folder, order.steps, order.limit))
    record = RunRecord(
        label=label,
        seed=order.seed,
        agent=settings.agents[label],
        learns=can_learn(kind),
        unit=unit_of(kind),
        settings=order.identity,
        planned=own.steps if can_learn(kind) else 0,
        machine=describe_machine(settings.device),
        versions=versions(),
    )
    done = _trained(record, settings, own) if can_learn(kind) else _evaluated(record, own)
    if not order.apart:
        return replace(done, memory=None)
    most = max(filter(None, (done.memory, peak_memory())), default=None)
    return replace(done, memory=most, gpu_memory=peak_gpu_memory())


def _trained(record: RunRecord, settings: ComparisonSettings, own: TrainSettings) -> RunRecord:
    """Make a run, or what is left of it; one whose numbers are no longer finite has failed, and that is a result."""
    with ExitStack() as stack:
        begun = _folder_of_run(own)
        if begun is None:
            training = begin(own, None)
        else:
            stack.enter_context(names_from(begun.path, "textgym compare", _named(own)))
            training = resume(stack.enter_context(begun), _named(own))
        run, eval_set = stack.enter_context(training.run), training.eval_set
        curve = part_of(eval_set, settings.curve_prompts)
        failure, after = None, None
        try:
            _, after = complete(training, Meter(training, settings.allowed, curve, settings.curve_points))
        except FloatingPointError as error:
            failure = str(error)
        before, rows = read_texts(run, "before", eval_set), read_spent(run)
        done = replace(
            record,
            points=tuple(points_of(rows)),
            spent=spent_of(rows[-1]) if rows else NOTHING,
            steps=int(training.agent.num_timesteps),
            memory=max((row["memory"] for row in rows if is_number(row.get("memory"))), default=None),
            warnings=tuple(all_concerns(run.log(), partial(reference_rewards, eval_set)).values()),
            failure=failure,
        )
    return _measured(done, eval_set, before, after)


def _evaluated(record: RunRecord, own: TrainSettings) -> RunRecord:
    """Evaluate an agent that has nothing to train; its learning curve is a single point."""
    with ExitStack() as stack:
        begun = _folder_of_run(own)
        untrained = begin_without_training(own, None if begun is None else stack.enter_context(begun))
        stack.enter_context(untrained.run)
        after = complete_without_training(untrained)
    done = _measured(record, untrained.eval_set, None, after)
    return replace(done, points=(Point(NOTHING, {name: mean.mean for name, mean in done.after.items()}),))


def _folder_of_run(own: TrainSettings) -> RunFolder | None:
    """Return the folder in which a run with these settings began; ``None`` if there is none yet.

    Raises:
        RunFolderError: A run with other settings began there.
    """
    run = RunFolder(str(own.out))
    if not (run.path / "config.json").is_file():
        return None
    run = RunFolder.open(run.path)
    if not run.has_settings(asdict(own)):
        raise RunFolderError(
            f"expected the beginning of a run with the settings of this comparison in {run.shown!r}, got one with "
            "others; remove the folder"
        )
    return run


def _named(own: TrainSettings) -> list[str]:
    """Return the names of modules in settings that the user has given, or has consented to."""
    return [value for _, value in walk(asdict(own)) if isinstance(value, str) and names_module(value)]


def _measured(
    record: RunRecord, eval_set: EvaluationSet, before: Evaluation | None, after: Evaluation | None
) -> RunRecord:
    """Add what was measured before training and after it, as far as it was, and texts of both sides."""
    return replace(
        record,
        before={} if before is None else _means(before),
        after={} if after is None else _means(after),
        samples=() if after is None else tuple(islice(_samples(eval_set, after, before), _SAMPLES)),
        evaluation_seconds=0.0 if after is None else after.seconds,
    )


def _means(evaluation: Evaluation) -> Mapping[str, Interval]:
    """Return the means of all measures, and the diversity of the texts, which is one of all of them together.

    Diversity is 1 minus Self-BLEU (Zhu et al. 2018, arXiv:1802.01886), the mean likeness of each text to the others.
    """
    texts, examples = evaluation.texts, [episode.example for episode in evaluation.episodes]
    likeness = self_bleu([""] * len(texts), texts, examples)
    return {**evaluation.measures.intervals(), DIVERSITY: mean_interval(1 - likeness, share=False)}


def _samples(eval_set: EvaluationSet, after: Evaluation, before: Evaluation | None) -> Iterator[Sample]:
    """Yield the texts of an evaluation, beside those about the same prompts before training."""
    rewards = after.measures.values.get("reward", np.full(len(after.episodes), np.nan))
    for place, episode in enumerate(after.episodes):
        reward = float(rewards[place])
        yield Sample(
            episode.example.key,
            prompt_text(eval_set.task, episode.example)[:_LONGEST],
            None if before is None else transcript(before.episodes[place])[:_LONGEST],
            transcript(episode)[:_LONGEST],
            reward if np.isfinite(reward) else None,
        )
