"""The common parts of all rewards learned from feedback: fitting, measuring, normalising, scoring."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from textgym.errors import DataError, NothingLearnedError
from textgym.feedback.records.splitting import split_records
from textgym.feedback.types import Comparison, Record
from textgym.reward_models import storage
from textgym.reward_models.calibration import sigmoid
from textgym.reward_models.evidence import (
    Evidence,
    Observation,
    Preference,
    Reader,
    Split,
    compared_records,
    graded_by,
    observe,
    preferences,
    read_split,
)
from textgym.reward_models.fitting import Checkpoints, Training
from textgym.reward_models.module import RewardModule
from textgym.reward_models.report import CurvePoint, FitReport, HeldOutWatch, measure
from textgym.rewards import Scores
from textgym.types import Example, FloatArray, Interval, JsonObject, Shown, Task


class Normalisation(NamedTuple):
    """Mean and standard deviation of the raw scores of reference responses."""

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def from_json(cls, record: JsonObject) -> Normalisation:
        """Read what ``_asdict`` gave; anything else would make every score infinite or NaN."""
        normalisation = cls(float(record["mean"]), float(record["std"]))
        if not math.isfinite(normalisation.mean) or not 0 < normalisation.std < math.inf:
            raise ValueError(f"expected a finite mean and a standard deviation above 0, got {normalisation}")
        return normalisation


class LearnedReward(RewardModule):
    """A reward learned from feedback (a :class:`~textgym.types.RewardFn`).

    Subclasses say how texts are scored (:meth:`raw`), how to train (:meth:`learn`) and what is saved.

    Attributes:
        name: Name in plots, tables and logs: ``"learned"`` for one that was not loaded from a folder.
        normalisation: Mean 0 and standard deviation 1 until :meth:`normalise` is called.
        report: Report of the last fit, or ``None``.
    """

    kind: ClassVar[str]
    """What a card calls this kind of model."""
    name = "learned"
    remedy = "fit again with a lower learning rate"

    def __init__(self) -> None:
        super().__init__()
        self.normalisation = Normalisation()
        self.report: FitReport | None = None

    def fit(
        self,
        records: Sequence[Record] | Split,
        *,
        criterion: str | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
        **options: Any,
    ) -> FitReport:
        """Learn from records of any kinds, mixed as they come; the normalisation is reset.

        How each kind is read: :func:`~textgym.reward_models.evidence.observe`; how answers come about from scores:
        :class:`~textgym.reward_models.likelihood.AnswerLikelihood`.

        Args:
            records: Comparisons, rankings, ratings, demonstrations, implicit feedback. Comparisons of a text with
                itself are left out with a warning. What :func:`~textgym.reward_models.evidence.read_split` made of
                records is taken as it is: then ``criterion`` and ``validation_fraction`` have been decided.
            criterion: Learn from the ratings by this criterion (a key of
                :attr:`~textgym.feedback.types.Rating.criteria`) instead of the overall ones; ratings without it are
                left out, records of other kinds are not.
            validation_fraction: Share of the *prompts* held out, with all records about them, to measure accuracy and
                to calibrate.
            seed: Decides the split, and what is random in :meth:`learn`; the same seed gives the same model on the same
                CPU.
            options: Arguments of :meth:`learn`, such as ``epochs`` of a language model.

        Returns:
            The report, also kept as :attr:`report`.

        Raises:
            DataError: If the records teach nothing, are all about one prompt, or have no such criterion.
            RewardError: If the loss or the weights become infinite or NaN.
            ValueError: If an option is out of range.
        """
        start = time.perf_counter()
        split = read_split(records, criterion, validation_fraction, seed)
        evidence = split.train
        asked = preferences(split.held_out.observations)
        watch = HeldOutWatch(self.differences_of, asked, options.get("progress"))
        training = self.learn(evidence, seed=seed, **{**options, **self._watched_by(watch)})
        result = measure(self.differences_of, asked, preferences(evidence.observations), training.reliability)
        self.normalisation = Normalisation()
        self.report = FitReport(
            accuracy=result.accuracy,
            train_loss=float(np.mean(training.losses[-training.steps_per_epoch :])),
            calibration=result.calibration,
            pairs=len(evidence.observations),
            held_out_pairs=result.pairs,
            seconds=time.perf_counter() - start,
            losses=tuple(training.losses),
            gradient_norms=tuple(training.gradient_norms),
            reliability=training.reliability,
            severity=training.severity,
            implicit_weight=evidence.implicit_weight,
            held_out=result.held_out,
            held_out_loss=result.loss,
            held_out_losses=tuple(watch.losses),
        )
        return self.report

    def _watched_by(self, watch: HeldOutWatch) -> dict[str, Any]:
        """Return the option of :meth:`learn` that lets a loss be measured on the way; none where there is no way."""
        return {}

    @abstractmethod
    def learn(self, evidence: Evidence, *, seed: int) -> Training:
        """Train on what records say: the part of :meth:`fit` that each kind of model has of its own."""

    @abstractmethod
    def raw(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Scores before normalisation; arguments, return value and errors as in :meth:`forward`."""

    def scores_of(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Normalised scores."""
        return self.score(prompts, responses).total

    def bind(self, task: Task | None) -> Self:
        """Return itself: a reward model needs no task."""
        return self

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score as :meth:`score`; conversations are read message by message, with the chat template of a model."""
        return self.score(prompts, responses, examples)

    def score(self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example] = ()) -> Scores:
        """Scores of ``n`` responses with two parts, so that both are logged: under its name, and ``NAME_raw``."""
        raw = self.raw(prompts, responses)
        normalised = (raw - self.normalisation.mean) / self.normalisation.std
        return Scores(normalised, {self.name: normalised, f"{self.name}_raw": raw})

    def preference_probability(
        self, prompts: Sequence[Shown], responses_a: Sequence[str], responses_b: Sequence[str]
    ) -> FloatArray:
        """Calibrated probability that each response a is preferred to response b, shape ``(n,)``."""
        calibration = self.report.calibration if self.report else None
        temperature = calibration.temperature if calibration else 1.0
        return sigmoid((self.raw(prompts, responses_a) - self.raw(prompts, responses_b)) / temperature)

    def differences(self, records: Sequence[Comparison]) -> FloatArray:
        """Raw score of response a minus raw score of response b, shape ``(n,)``."""
        prompts = [record.prompt for record in records] * 2
        responses = [record.response_a for record in records] + [record.response_b for record in records]
        scores = self.raw(prompts, responses)
        return scores[: len(records)] - scores[len(records) :]

    def normalise(self, prompts: Sequence[Shown], references: Sequence[str]) -> Normalisation:
        """Shift and scale scores so that these responses have mean 0 and standard deviation 1; stored with the model.

        Args:
            prompts: ``n`` formatted prompt texts, or conversations.
            references: ``n`` responses that answer them well.

        Returns:
            Mean and standard deviation of their raw scores.

        Raises:
            DataError: If there are fewer than two responses.
            NothingLearnedError: If all have one score.
        """
        scores = self.raw(prompts, references)
        if len(scores) >= 2 and float(scores.std()) < 1e-12:
            raise NothingLearnedError(
                f"expected fitted scores that differ between texts, got one score for all {len(scores)} reference "
                "texts: the model learned nothing, as where answers contradict each other and cancel out; warnings "
                "say which annotators do, here and in textgym feedback status; leave out whoever is reversed, and fit "
                "again"
            )
        if len(scores) < 2:
            raise DataError(f"expected at least two reference responses, got {len(scores)}; give more references")
        self.normalisation = Normalisation(float(scores.mean()), float(scores.std()))
        return self.normalisation

    def accuracy_on(
        self, records: Sequence[Record], criterion: str | None = None, reliability: Mapping[str, float] | None = None
    ) -> Interval:
        """Share of the preferences in ``records`` that the model predicts, with its 95 % interval.

        Args:
            records: Records of any kinds.
            criterion: Criterion as for :meth:`fit`.
            reliability: Reliability by annotator, as in a report; those who guess are left out.
        """
        asked = preferences(observe(graded_by(records, criterion)).observations)
        return measure(self.differences_of, asked, [], reliability).accuracy

    def differences_of(self, preferences: Sequence[Preference]) -> FloatArray:
        """Raw score of the first text minus raw score of the second, shape ``(n,)``."""
        candidates = [each.first for each in preferences] + [each.second for each in preferences]
        scores = self.raw([each.prompt for each in candidates], [each.response for each in candidates])
        return scores[: len(preferences)] - scores[len(preferences) :]

    def save(self, folder: str | Path) -> None:
        """Write a folder: a JSON card and what belongs to it; nothing is pickled.

        The folder appears under its name only when it is complete; an earlier reward model there is replaced.

        Args:
            folder: Where to; parents are made.

        Raises:
            CheckpointError: If the folder holds something else than a reward model.
        """
        storage.write_folder(folder, self._write)

    def _write(self, folder: Path, **options: Any) -> None:
        """Fill a folder; options are those of :meth:`_write_parts`."""
        card = {"kind": self.kind, "format": 1, **self._write_parts(folder, **options), **self._state()}
        storage.write_card(folder, card)

    @abstractmethod
    def _write_parts(self, folder: Path) -> dict[str, object]:
        """Write what belongs to the card; return what the card says of it."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a folder written by :meth:`save`; weights are float32 on the CPU.

        Raises:
            CheckpointError: If it is incomplete, damaged, or a reward model of another kind.
        """
        folder, card = storage.open_folder(folder, cls.kind)
        with storage.complete(folder):
            model = cls._read_parts(folder, card)
            model._restore(card)
        return model

    @classmethod
    @abstractmethod
    def _read_parts(cls, folder: Path, card: JsonObject) -> Self:
        """Return the model of what :meth:`_write_parts` wrote."""

    def _state(self) -> dict[str, object]:
        """Return the part common to all cards: normalisation, versions, the report without measures of single steps."""
        report = asdict(self.report) if self.report else None
        for per_step in ("losses", "gradient_norms", "held_out_losses"):
            if report:
                del report[per_step]
        return {"normalisation": self.normalisation._asdict(), "report": report, "versions": storage.versions()}

    def _restore(self, card: JsonObject) -> None:
        """Take over what :meth:`_state` gave.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: It is something else.
        """
        self.normalisation = Normalisation.from_json(card["normalisation"])
        self.report = FitReport.from_json(card["report"]) if card["report"] is not None else None


def resampled(observations: Sequence[Observation], seed: int) -> list[Observation]:
    """Weight every prompt by an exponential random number, all its observations alike: the Bayesian bootstrap.

    References:
        Rubin, "The Bayesian bootstrap", Annals of Statistics 9 (1981).
    """
    rng = np.random.default_rng(seed)
    drawn = {prompt: float(rng.exponential()) for prompt in dict.fromkeys(each.prompt for each in observations)}
    return [replace(each, weight=each.weight * drawn[each.prompt]) for each in observations]


def learning_curve(
    new_model: Callable[[], LearnedReward],
    records: Sequence[Record],
    *,
    criterion: str | None = None,
    held_out: float = 0.2,
    shares: Sequence[float] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
    read: Reader | None = None,
    **settings: Any,
) -> list[CurvePoint]:
    """Held-out accuracy against the number of records, always on the same held-out answers.

    Left out are those of annotators who guess, as the fit to all other records finds.

    Args:
        new_model: Gives an unfitted model.
        records: All records; they are used in the order given, which should be random.
        criterion: Criterion as for ``fit``.
        held_out: Share of the prompts to measure on.
        shares: Shares of the other records; shares that teach nothing are left out.
        seed: Seed of the split and the fits.
        checkpoints: Has a part for every share.
        read: Knows what the records say, if they were read before; a record is read once whatever the shares.
        settings: More arguments of ``fit``.

    Raises:
        DataError: If the records teach nothing, or are all about one prompt.
    """
    usable = compared_records(graded_by(records, criterion))
    read = Reader() if read is None else read
    split = read_split(usable, held_out=held_out, seed=seed, read=read)
    asked = preferences(split.held_out.observations)
    train, _ = split_records(usable, held_out, seed)
    points: list[CurvePoint] = []
    reliability: Mapping[str, float] | None = None
    for size in sorted({round(share * len(train)) for share in shares}, reverse=True):
        evidence = split.train if size == len(train) else observe(train[:size], read=read)
        if evidence.teaches:
            model = new_model()
            kept: dict[str, Any] = {} if checkpoints is None else {"checkpoints": checkpoints.part(f"records-{size}")}
            report = model.fit(Split(evidence), seed=seed, **kept, **settings)
            reliability = report.reliability if reliability is None else reliability
            points.append(CurvePoint(size, measure(model.differences_of, asked, [], reliability).accuracy))
    return points[::-1]
