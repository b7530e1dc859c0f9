"""Fitting a reward model to comparisons: given ones, or a simulated annotator's on samples of a language model."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from textgym import console
from textgym.errors import DataError
from textgym.feedback import (
    BradleyTerryAnnotator,
    make_questions,
    read_comparisons,
    reward_scorer,
    write_records,
)
from textgym.models.language_model import LanguageModel
from textgym.pipelines.interrupts import RunInterrupted
from textgym.pipelines.sampling import Sampling, sample_texts
from textgym.pipelines.settings import check_settings
from textgym.pipelines.setup import TaskChoice, describe_data, load_model, located, require_context, with_budgets
from textgym.plots import plot_loss
from textgym.reward_models import FitReport, PreferenceRewardModel, RewardEnsemble
from textgym.reward_models.evidence import check_split, split_records, usable_records
from textgym.rewards import NAMED_REWARDS, load_attribute
from textgym.runs import RunFolder, intervals_as_json
from textgym.types import Comparison, Example, Question, Task

AnnotatorName = Literal["gold", "rouge"]
NOISE: Mapping[AnnotatorName, float] = {"gold": 0.1, "rouge": 0.05}
"""Score difference that a simulated annotator sees 73 % of the time."""
_REFERENCES = 512
_MIX = (0.55, 0.15, 0.15, 0.15)  # second text of a pair: a sample, the reference, another's reference, the first words
_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """Settings of ``textgym reward fit``.

    Attributes:
        choice: Task and data.
        model: Samples the texts to compare, and is the trunk the reward model starts from.
        members: Reward models to average, each fitted to reweighted prompts; they say where they disagree.
        comparisons: File of comparisons; ``None`` lets an annotator be simulated.
        annotator: Whom to simulate: ``"gold"`` judges by the data's true quality, ``"rouge"`` by the references.
            ``None`` takes gold where the data knows it.
        pairs: Number of simulated comparisons.
        noise: Score difference at which the better text is preferred with probability 0.73; ``None`` is 0.1 for gold
            and 0.05 for ROUGE.
        epochs, learning_rate, batch_size: Of the fit.
        held_out: Share of the prompts that accuracy is measured on.
        max_prompt_tokens, max_new_tokens: Budgets of the texts that are sampled; ``None`` is the task's.
    """

    choice: TaskChoice
    model: str = "tiny"
    members: int = 1
    comparisons: str | None = None
    annotator: AnnotatorName | None = None
    pairs: int = 2000
    noise: float | None = None
    epochs: int = 1
    learning_rate: float = 1e-4
    batch_size: int = 16
    held_out: float = 0.1
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        counts = ("members", "pairs", "epochs", "batch_size", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, positive=("learning_rate",), not_negative=("noise", "held_out"))
        if self.held_out >= 1:
            raise ValueError(f"expected a share below 1 as held_out, got {self.held_out}; lower it")
        if self.pairs < 2:
            raise ValueError(
                f"expected at least 2 pairs, one to learn from and one held out, got {self.pairs}; raise it"
            )
        if self.annotator not in (None, "gold", "rouge"):
            raise ValueError(f"expected the annotator 'gold' or 'rouge', got {self.annotator!r}")


@dataclass(frozen=True, slots=True)
class _FitReporter:
    """Passes the progress of a fit on."""

    ticker: console.Ticker
    losses: list[float]

    def __call__(self, step: int, total: int, loss: float) -> None:
        self.losses.append(loss)
        self.ticker.resize(total)
        self.ticker.advance(1, note=f"loss {np.mean(self.losses[-20:]):.3f}")


def run_reward_fit(settings: RewardSettings) -> RunFolder:
    """Collect or read comparisons, fit a reward model, and write it to ``RUN/reward``."""
    start = time.perf_counter()
    settings = located(settings)
    task = with_budgets(settings.choice.make("train"), settings.max_prompt_tokens, settings.max_new_tokens)
    given = _read_given(settings)
    source = (
        f"the {len(given):,} comparisons of {settings.comparisons}"
        if given is not None
        else _simulation(task, settings)
    )
    model = load_model(settings.model, settings.device)
    model.tokenizer.require_eos()
    if given is None:
        require_context(model, task)
    run = RunFolder.create(settings.out, "reward fit", asdict(settings))
    console.say(
        f"Fitting a reward model to {source}; trunk {settings.model}, {settings.epochs} epoch(s); minutes for small "
        f"models. Files: {run.path}"
    )
    records = given if given is not None else simulate_comparisons(settings, task, model)
    write_records(run.path / "comparisons.jsonl", records)
    report = fit_reward(run, settings, task, model, records)
    show_report(report)
    seconds = {"fit": report.seconds, "total": time.perf_counter() - start}
    run.write_summary({**report_as_json(report), "seconds": seconds})
    console.say(f"Reward model: {run.reward}   use it with: textgym train {settings.choice.env_id} --reward {run.path}")
    return run


def _read_given(settings: RewardSettings) -> list[Comparison] | None:
    """Read the comparisons that were given, if any.

    Raises:
        DataError: They cannot be read, or teach nothing.
    """
    if settings.comparisons is None:
        return None
    records = read_comparisons(settings.comparisons)
    check_split(*split_records(usable_records(records), settings.held_out, settings.seed), settings.held_out)
    return records


def simulate_comparisons(settings: RewardSettings, task: Task, model: LanguageModel) -> list[Comparison]:
    """Let a simulated annotator compare texts about prompts of the training split.

    Args:
        settings: Who judges, how noisily, how often.
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
        [task.format_prompt(example) for example in examples], [example.key for example in examples], first, second
    )
    return _annotator(name, settings, task, examples, rng).compare(_swapped(questions, rng))


def fit_reward(
    run: RunFolder, settings: RewardSettings, task: Task, model: LanguageModel, records: Sequence[Comparison]
) -> FitReport:
    """Fit to ``records``, normalise on references of the training split, and save to ``run``.

    Raises:
        RunInterrupted: The user stopped it; the comparisons are kept.
    """
    reward = _new_reward(settings, task, model)
    losses: list[float] = []
    try:
        with console.progress("fitting", 1, "steps") as ticker:
            report = reward.fit(
                records,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                validation_fraction=settings.held_out,
                seed=settings.seed,
                progress=_FitReporter(ticker, losses),
            )
    except KeyboardInterrupt:
        kept = run.path / "comparisons.jsonl"
        advice = f"Comparisons are kept. Fit again with: textgym reward fit ... --comparisons {kept}"
        raise RunInterrupted(advice) from None
    prompts, texts = _reference_texts(task, records)
    reward.normalise(prompts, texts)
    reward.save(run.reward)
    plot_loss(run.path / "reward_loss.png", losses, "Bradley-Terry loss, nats (chance: 0.693)")
    return report


def _new_reward(
    settings: RewardSettings, task: Task, model: LanguageModel
) -> PreferenceRewardModel | RewardEnsemble:
    longest = max(task.max_prompt_tokens + task.max_new_tokens, _MAX_LENGTH)
    context = longest if model.context_length is None else model.context_length
    trunks = [model, *(copy.deepcopy(model) for _ in range(settings.members - 1))]
    members = [PreferenceRewardModel(trunk, max_length=min(context, longest)) for trunk in trunks]
    return RewardEnsemble(members) if len(members) > 1 else members[0]


def show_report(report: FitReport) -> None:
    """Print the accuracy on held-out comparisons."""
    console.say(
        f"Held-out accuracy {console.with_bounds(report.accuracy)} (95 %) on {report.held_out_pairs:,} comparisons of "
        f"prompts that were not trained on; trained on {report.pairs:,} in {console.duration(report.seconds)}"
    )
    if report.calibration is not None:
        console.say(f"Expected calibration error {report.calibration.expected_calibration_error:.3f}")


def report_as_json(report: FitReport) -> dict[str, object]:
    """Return a report as it stands in ``summary.json``."""
    error = report.calibration.expected_calibration_error if report.calibration else None
    return {
        **intervals_as_json({"accuracy": report.accuracy}),
        "calibration_error": error,
        "train_loss": report.train_loss,
        "pairs": report.pairs,
        "held_out_pairs": report.held_out_pairs,
    }


def annotator_of(task: Task, settings: RewardSettings) -> AnnotatorName:
    """Return whom to simulate.

    Raises:
        DataError: The data cannot play that part.
    """
    example = task.dataset[0]
    knows_gold = task.gold([""], [example]) is not None
    name = settings.annotator or ("gold" if knows_gold else "rouge")
    if name == "gold" and not knows_gold:
        raise DataError(
            f"expected data that knows true quality for --annotator gold, got {task.dataset.name!r}; use rouge"
        )
    if name == "rouge" and not example.references:
        raise DataError(
            f"expected references for a simulated annotator, got none in {task.dataset.name!r}; name their column with "
            "--reference-column, or give --comparisons"
        )
    return name


def _simulation(task: Task, settings: RewardSettings) -> str:
    judge = {"gold": "true quality", "rouge": "ROUGE-L against the references"}[annotator_of(task, settings)]
    return f"{settings.pairs:,} simulated comparisons by {judge} (noisy) on {describe_data(task)}"


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
        gold = self.task.gold(responses, examples)
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
        words = example.references[0].split()
        stand_ins = (text, example.references[0], _reference(examples[other]), _first_words(example, len(words)))
        texts.append(stand_ins[kind])
    return texts


def _reference(example: Example) -> str:
    return example.references[0] if example.references else ""


def _first_words(example: Example, n: int) -> str:
    return " ".join(example.prompt.split()[:n])


def _swapped(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Put each pair in random order, so that the place of a text says nothing."""
    flips = rng.random(len(questions)) < 0.5
    return [
        replace(question, responses=question.responses[::-1]) if flip else question
        for question, flip in zip(questions, flips, strict=True)
    ]


def _reference_texts(task: Task, records: Sequence[Comparison]) -> tuple[list[str], list[str]]:
    """Texts that count as reward 0 on average: references of training prompts, or else the chosen texts."""
    examples = [task.dataset[index] for index in range(min(_REFERENCES, len(task.dataset)))]
    known = [example for example in examples if example.references]
    if len(known) >= 2:
        return [task.format_prompt(example) for example in known], [example.references[0] for example in known]
    some = records[:_REFERENCES]
    return [record.prompt for record in some], [record.chosen for record in some]
