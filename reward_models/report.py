"""The report of a fit: accuracy on held-out answers, its meaning, and the model's errors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple, Self

import numpy as np

from textgym.metrics import clustered_proportion_interval, count_words
from textgym.reward_models.calibration import Calibration, calibrate
from textgym.reward_models.evidence import EXPLICIT, Candidate, Preference
from textgym.types import FloatArray, Interval, JsonObject, shown_text

_BINS = 4
_WORST = 5
_SHOWN = 400  # characters of a text among the worst errors
_FEW = 30
_WATCHED, _MOMENTS = 64, 4  # held-out preferences that are measured while a model is fitted, and how often
_TRUSTED = 0.5
_CHANCE = 0.5


class LengthBin(NamedTuple):
    """Held-out preferences in which the preferred response has ``low`` to ``high`` words more than the other."""

    low: float
    high: float
    accuracy: Interval
    pairs: int


class Mistake(NamedTuple):
    """A held-out preference that the model got wrong, by ``margin`` in its raw score; long texts are cut."""

    prompt: str
    preferred: str
    rejected: str
    margin: float
    kind: str


class CurvePoint(NamedTuple):
    """Held-out accuracy after ``labels`` records."""

    labels: int
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The accuracy on the preferences of held-out prompts, and facts that qualify it.

    Attributes:
        by_kind: Accuracy by kind of record.
        always_longer, always_shorter: Accuracy of preferring the response with more words, or with fewer.
        by_length: Accuracy by how much longer the preferred response is: a model that goes by length is right where
            it is longer and wrong where it is shorter.
        agreement: How often two annotators who prefer one of the same two texts prefer the same one, over all records
            (the ceiling: people do not agree with each other more often); ``None`` if no two answered one question.
        worst: The most confident errors of the model.
        notes: Reasons against taking the accuracy at its face value; empty if there are none.
    """

    by_kind: Mapping[str, Interval]
    always_longer: Interval
    always_shorter: Interval
    by_length: tuple[LengthBin, ...]
    agreement: Interval | None
    worst: tuple[Mistake, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read what ``dataclasses.asdict`` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(
            by_kind={str(kind): _interval(row) for kind, row in data["by_kind"].items()},
            always_longer=_interval(data["always_longer"]),
            always_shorter=_interval(data["always_shorter"]),
            by_length=tuple(LengthBin(low, high, _interval(row), n) for low, high, row, n in data["by_length"]),
            agreement=_interval(data["agreement"]) if data["agreement"] is not None else None,
            worst=tuple(Mistake(*row) for row in data["worst"]),
            notes=tuple(map(str, data["notes"])),
        )


@dataclass(frozen=True, slots=True)
class FitReport:
    """The report of a fit.

    Attributes:
        accuracy: Share of held-out preferences predicted, with its 95 % interval; ``(0.5, 0, 1)`` if nothing was held
            out. Of explicit answers (comparisons, rankings, ratings) where there are any, else of implied ones.
        train_loss: Mean loss over the last epoch, each batch measured before its own step (log 2 = 0.693 is chance for
            comparisons without ties).
        calibration: Calibration on held-out pairs; ``None`` if nothing was held out.
        pairs: Number of answers trained on; a ranking or a rating is one.
        held_out_pairs: Number of held-out preferences between two texts, ties included.
        seconds: Wall time of the whole fit.
        losses: Loss of every step; not saved with the model.
        gradient_norms: Gradient norm of every step before clipping; not saved with the model.
        reliability: Estimated share of each annotator's answers that are not guesses, by name; empty with
            a single annotator.
        severity: How much lower than others each annotator rates, in units of the raw score, by name; empty without
            ratings.
        implicit_weight: Weight of an implied comparison by behaviour, beside 1 for a vote; ``None`` without any.
        held_out: Accuracy and facts that qualify it; ``None`` if nothing was held out.
        held_out_loss: Mean negative log-likelihood of the held-out preferences by the fitted scores, nats, to be
            compared with ``train_loss`` and log 2; ``None`` if nothing was held out.
        held_out_losses: ``(step, loss)`` of a part of them on the way; not saved with the model.
    """

    accuracy: Interval
    train_loss: float
    calibration: Calibration | None
    pairs: int
    held_out_pairs: int
    seconds: float
    losses: tuple[float, ...] = ()
    gradient_norms: tuple[float, ...] = ()
    reliability: Mapping[str, float] = field(default_factory=dict)
    severity: Mapping[str, float] = field(default_factory=dict)
    implicit_weight: float | None = None
    held_out: HeldOut | None = None
    held_out_loss: float | None = None
    held_out_losses: tuple[tuple[int, float], ...] = ()

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read what ``dataclasses.asdict`` wrote, with or without the fields that have defaults.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        weight, held_out, loss = (data.get(name) for name in ("implicit_weight", "held_out", "held_out_loss"))
        return cls(
            accuracy=_interval(data["accuracy"]),
            train_loss=float(data["train_loss"]),
            calibration=Calibration.from_json(data["calibration"]) if data["calibration"] is not None else None,
            pairs=int(data["pairs"]),
            held_out_pairs=int(data["held_out_pairs"]),
            seconds=float(data["seconds"]),
            reliability={str(name): float(value) for name, value in data.get("reliability", {}).items()},
            severity={str(name): float(value) for name, value in data.get("severity", {}).items()},
            implicit_weight=None if weight is None else float(weight),
            held_out=HeldOut.from_json(held_out) if held_out is not None else None,
            held_out_loss=None if loss is None else float(loss),
        )


class Result(NamedTuple):
    """The part of a report that is measured on held-out preferences."""

    accuracy: Interval
    calibration: Calibration | None
    held_out: HeldOut | None
    pairs: int
    loss: float | None


Difference = Callable[[Sequence[Preference]], FloatArray]
"""``difference(preferences)`` -> raw score of the first text minus that of the second, shape ``(n,)``."""


def measure(
    difference: Difference,
    held_out: Sequence[Preference],
    train: Sequence[Preference],
    reliability: Mapping[str, float] | None = None,
) -> Result:
    """Measure a model on held-out preferences.

    Left out are preferences of annotators who were found to guess more often than not, or to answer the opposite; notes
    tell of them.

    Args:
        difference: The model.
        held_out: Preferences of other prompts than ``train``.
        train: Observations the model was fitted to.
        reliability: Reliability by annotator, estimated on ``train``.
    """
    doubted = {name for name, share in (reliability or {}).items() if share < _TRUSTED}
    kept = [each for each in held_out if each.annotator not in doubted] or held_out
    left_out = [each for each in held_out if each.annotator in doubted] if len(kept) < len(held_out) else []
    trusted = [each for each in (*train, *held_out) if each.annotator not in doubted]
    differences, labels = difference(kept), labels_of(kept)
    if not kept:
        return Result(accuracy(kept, differences), None, None, 0, None)
    explicit = np.array([each.kind in EXPLICIT for each in kept])
    decisive = explicit if (explicit & (labels != 0.5)).any() else np.ones(len(kept), dtype=bool)
    main = [each for each, counts in zip(kept, decisive, strict=True) if counts]
    overall = accuracy(main, differences[decisive])
    words = _lead_in_words(main)
    rules = accuracy(main, words), accuracy(main, -words)
    details = HeldOut(
        by_kind=_by_kind(kept, differences),
        always_longer=rules[0],
        always_shorter=rules[1],
        by_length=_by_length(main, differences[decisive]),
        agreement=agreement(trusted),
        worst=_worst(main, differences[decisive]),
        notes=(
            *_left_out(left_out, difference),
            *_notes(main, overall, rules, train),
            *_constant_annotators([*train, *held_out]),
        ),
    )
    decided = int((labels[decisive] != 0.5).sum())
    calibration = calibrate(differences[decisive], labels[decisive], _prompts(main))
    return Result(overall, calibration, details, decided, pairwise_loss(main, differences[decisive]))


def pairwise_loss(preferences: Sequence[Preference], differences: FloatArray) -> float | None:
    """Return the mean negative log-likelihood of preferences by Bradley and Terry's model, in nats; log 2 is chance.

    Args:
        preferences: Ties are left out; ``None`` is returned if nothing is left.
        differences: Raw score of the first minus raw score of the second, shape ``(n,)``.
    """
    signs = 2 * labels_of(preferences) - 1
    decided = signs != 0
    if not decided.any():
        return None
    return float(np.logaddexp(0, -signs[decided] * np.asarray(differences)[decided]).mean())


class HeldOutWatch:
    """Measures the loss of held-out preferences a few times while a model is fitted.

    Args:
        difference: The model.
        held_out: Preferences of other prompts than those trained on; a few of them are measured.
        progress: Called after every step, as the fit would call it.

    Attributes:
        losses: ``(step, loss)`` so far.
    """

    def __init__(
        self,
        difference: Difference,
        held_out: Sequence[Preference],
        progress: Callable[[int, int, float], object] | None,
    ) -> None:
        self._difference, self._progress = difference, progress
        self._asked = [each for each in held_out if each.label != 0.5][:_WATCHED]
        self.losses: list[tuple[int, float]] = []

    def __call__(self, step: int, total: int, loss: float) -> None:
        """Measure where a quarter of the steps is done, and pass the progress on."""
        if self._asked and step in {-(-quarter * total // _MOMENTS) for quarter in range(1, _MOMENTS + 1)}:
            held_out = pairwise_loss(self._asked, self._difference(self._asked))
            self.losses.append((step, math.nan if held_out is None else held_out))
        if self._progress is not None:
            self._progress(step, total, loss)


def labels_of(preferences: Sequence[Preference]) -> FloatArray:
    """Preference for the first text: 1, 0, or 0.5 for neither; shape ``(n,)``."""
    return np.array([each.label for each in preferences], dtype=np.float64)


def accuracy(preferences: Sequence[Preference], differences: FloatArray) -> Interval:
    """Share of preferences that the sign of the score difference predicts, with its 95 % interval.

    Preferences of one prompt resemble each other, so that they are worth fewer independent ones: their number is
    divided by the design effect (Kish), the factor by which the variance of the mean exceeds that of independent ones.

    Args:
        preferences: Ties are left out.
        differences: Score of the first minus score of the second, shape ``(n,)``; exactly 0 counts as half right.

    Returns:
        The interval; ``(0.5, 0, 1)`` if there is no preference among them.

    References:
        Kish, "Survey Sampling" (1965), section 8.2.
    """
    labels = labels_of(preferences)
    right = (1 + np.sign(differences) * np.sign(labels - 0.5)) / 2
    prompts = _prompts(preferences)
    decided = np.flatnonzero(labels != 0.5)
    return clustered_proportion_interval(right[decided], [prompts[i] for i in decided])


def agreement(preferences: Sequence[Preference]) -> Interval | None:
    """Return how often two annotators who answered the same question agree, every question counting once.

    The interval allows for questions about one prompt. Only explicit answers with a preference count. ``None`` if no
    question was answered twice.
    """
    answers: dict[frozenset[Candidate], dict[str, Candidate]] = defaultdict(dict)
    for each in preferences:
        if each.kind in EXPLICIT and each.label != 0.5 and each.annotator is not None:
            preferred = each.first if each.label == 1 else each.second
            answers[frozenset((each.first, each.second))][each.annotator] = preferred
    asked_twice = [preferred for preferred in answers.values() if len(preferred) > 1]
    shares = [
        float(np.mean([one == other for one, other in combinations(preferred.values(), 2)]))
        for preferred in asked_twice
    ]
    prompts = [shown_text(next(iter(preferred.values())).prompt) for preferred in asked_twice]
    return clustered_proportion_interval(shares, prompts) if shares else None


def _prompts(preferences: Sequence[Preference]) -> list[str]:
    """Return which prompt each is about, as a text."""
    return [shown_text(each.first.prompt) for each in preferences]


def _lead_in_words(preferences: Sequence[Preference]) -> FloatArray:
    """Words of the first response minus words of the second, shape (n,)."""
    leads = [count_words(each.first.response) - count_words(each.second.response) for each in preferences]
    return np.array(leads, dtype=np.float64)


def _by_kind(preferences: Sequence[Preference], differences: FloatArray) -> dict[str, Interval]:
    members: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(preferences):
        members[each.kind].append(i)
    return {kind: accuracy([preferences[i] for i in own], differences[own]) for kind, own in members.items()}


def _by_length(preferences: Sequence[Preference], differences: FloatArray) -> tuple[LengthBin, ...]:
    """Quarters of the preferences, by the words that the preferred response has more."""
    labels = labels_of(preferences)
    places = np.flatnonzero(labels != 0.5)
    if not len(places):
        return ()
    leads = (_lead_in_words(preferences) * np.sign(labels - 0.5))[places]
    ends = np.unique(np.quantile(leads, np.linspace(0, 1, _BINS + 1)[1:]))
    bins = np.searchsorted(ends, leads)
    found = []
    for number in np.unique(bins):
        members = places[bins == number]
        within = leads[bins == number]
        hits = accuracy([preferences[i] for i in members], differences[members])
        found.append(LengthBin(float(within.min()), float(within.max()), hits, len(members)))
    return tuple(found)


def _worst(preferences: Sequence[Preference], differences: FloatArray) -> tuple[Mistake, ...]:
    margins = (differences * np.sign(labels_of(preferences) - 0.5)).tolist()  # negative where the model errs
    mistakes: dict[tuple[Candidate, Candidate], Mistake] = {}  # what several people say is one
    for i in sorted(range(len(margins)), key=margins.__getitem__):
        if margins[i] >= 0 or len(mistakes) == _WORST:
            break
        each = preferences[i]
        better, worse = (each.first, each.second) if each.label == 1 else (each.second, each.first)
        texts = _cut(shown_text(better.prompt)), _cut(better.response), _cut(worse.response)
        mistakes.setdefault((better, worse), Mistake(*texts, -margins[i], each.kind))
    return tuple(mistakes.values())


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}"


def _notes(
    main: Sequence[Preference],
    overall: Interval,
    rules: tuple[Interval, Interval],
    train: Sequence[Preference],
) -> list[str]:
    decided = [each for each in main if each.label != 0.5]
    known = {each.response for preference in train for each in (preference.first, preference.second)}
    different = len(set(decided))
    repeated = sum({each.first.response, each.second.response} <= known for each in decided)
    better = max(rules, key=lambda rule: rule.mean)
    found = [
        (not decided, "no preference was held out: nothing is known about the accuracy"),
        (0 < different < _FEW, f"only {_different(different, decided)} held out: the accuracy says little"),
        (
            bool(decided) and overall.high < _CHANCE,
            "the accuracy is below chance, systematically opposite: are labels swapped?",
        ),
        (bool(decided) and overall.low <= _CHANCE <= overall.high, "the accuracy is not distinguishable from chance"),
        (len(decided) > 0 and better.mean >= overall.mean, "a rule that looks at length alone is as accurate"),
        (2 * repeated > len(decided), f"{repeated} of {len(decided)} held-out pairs are of responses also trained on"),
        (bool(decided) and not any(each.kind in EXPLICIT for each in decided), "measured on implied preferences only"),
        (any(each.first.prompt != each.second.prompt for each in decided), "ratings compared across prompts"),
    ]
    return [note for holds, note in found if holds]


def _different(different: int, decided: Sequence[Preference]) -> str:
    return f"{different} {'' if different == len(decided) else 'different '}preferences"


def _left_out(preferences: Sequence[Preference], difference: Difference) -> list[str]:
    """Name annotators who are not measured by: those who guess, and those whom the model contradicts systematically."""
    own: dict[str, list[Preference]] = defaultdict(list)
    for each in preferences:
        own[str(each.annotator)].append(each)
    opposite = {name for name, said in own.items() if accuracy(said, difference(said)).high < _CHANCE}
    guessing = own.keys() - opposite
    contrary = "answer systematically opposite to the model (their labels are swapped, or those of the others)"
    return [
        f"{sum(len(own[name]) for name in names)} held-out preferences left out, of annotators who {what}: "
        f"{', '.join(sorted(names))}"
        for names, what in ((guessing, "guess"), (opposite, contrary))
        if names
    ]


def _constant_annotators(preferences: Sequence[Preference]) -> list[str]:
    """Name annotators who always answer the same, unless all do (in published pairs the better text comes first)."""
    answers: dict[str, list[float]] = defaultdict(list)
    for each in preferences:
        if each.kind == "comparison" and each.annotator is not None:
            answers[each.annotator].append(each.label)
    constant = [name for name, labels in answers.items() if len(labels) >= 10 and len(set(labels)) == 1]
    if len(constant) == len(answers):
        return []
    return [f"{name} gave the same answer {len(answers[name])} times" for name in constant]


def _interval(row: Sequence[float]) -> Interval:
    interval = Interval(*map(float, row))
    if not all(map(math.isfinite, interval)):
        raise ValueError(f"expected a finite interval, got {interval}")
    return interval
