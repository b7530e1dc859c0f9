"""Labels saved by choosing the pairs: share of those of random pairs that gives chosen pairs the same accuracy.

A simulated annotator with Bradley-Terry noise on the true quality answers questions about built-in reports. Two models
on the same frozen embeddings (of the shipped language model) get the same first labels; then one is given random pairs
and the other those of :func:`~textgym.reward_models.selection.select_pairs`, in rounds. Both are measured against the
true quality on pairs of other reports. docs/reward-models.md says what came of it: ``textgym bench active-selection``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import Measurement, Options, Report
from textgym import console
from textgym.feedback.annotators.simulated import preference_probability
from textgym.feedback.types import Comparison, Question
from textgym.metrics import mean_interval
from textgym.reward_models import EmbeddingRewardModel, TextEmbedder, select_pairs
from textgym.tasks import Summarization, prompt_text
from textgym.types import Example, FloatArray, Task, episodes_of

_NOISE = 0.1
_REPLICAS = 8
_HELD_OUT = 400  # pairs


@dataclass(frozen=True, slots=True)
class Study:
    """Sizes of the study.

    Attributes:
        reports: Reports to ask about; as many again, up to 400, are measured on.
        first: Labels both models start with.
        step: Labels per round.
        labels: Labels at the end.
        seeds: Repetitions, each with other reports and other noise.
    """

    reports: int = 600
    first: int = 20
    step: int = 20
    labels: int = 400
    seeds: int = 5


@dataclass(frozen=True, slots=True)
class Pool:
    """Questions with the answer that a simulated annotator gives, and how much better the first response is."""

    questions: list[Question]
    leads: FloatArray

    def answers(self, rng: np.random.Generator) -> dict[Question, Comparison]:
        """One noisy answer per question."""
        prefers_a = rng.random(len(self.leads)) < preference_probability(self.leads, _NOISE)
        found = {}
        for question, first in zip(self.questions, prefers_a, strict=True):
            a, b = question.responses
            found[question] = Comparison(question.task_key, question.prompt, a, b, "a" if first else "b")
        return found


def candidates(example: Example, other: Example, rng: np.random.Generator) -> list[str]:
    """Responses of different quality to one report."""
    reference = str(rng.choice(example.references))
    words, sentences = reference.split(), example.text.split(". ")
    return [
        reference,
        example.demonstrations[0],
        other.references[0],
        str(rng.choice(sentences)),
        " ".join(words[: len(words) // 2]),
        " ".join(example.text.split()[: len(words)]),
    ]


def make_pool(task: Task, indices: Sequence[int], rng: np.random.Generator) -> Pool:
    """Two pairs of every report, of responses drawn at random."""
    questions, leads = [], []
    for index in indices:
        example, other = task.dataset[index], task.dataset[int(rng.integers(len(task.dataset)))]
        texts = candidates(example, other, rng)
        quality = task.gold(episodes_of([example] * len(texts), texts))
        assert quality is not None
        order = rng.permutation(len(texts))
        for a, b in (order[:2], order[2:4]):
            if texts[a].strip() != texts[b].strip():
                questions.append(Question(example.key, prompt_text(task, example), (texts[a], texts[b])))
                leads.append(quality[a] - quality[b])
    return Pool(questions, np.array(leads))


def accuracy_of(model: EmbeddingRewardModel, pool: Pool) -> float:
    """Share of the pairs of different quality whose better response scores higher."""
    prompts = [question.prompt for question in pool.questions]
    scores = [model.raw(prompts, [question.responses[side] for question in pool.questions]) for side in (0, 1)]
    decided = pool.leads != 0
    return float((np.sign(scores[0] - scores[1]) == np.sign(pool.leads))[decided].mean())


def curve(embedder: TextEmbedder, pool: Pool, held_out: Pool, study: Study, seed: int, *, chooses: bool) -> list[float]:
    """Accuracy after ``first``, ``first + step``, ... labels."""
    answers = pool.answers(np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    order = [pool.questions[i] for i in rng.permutation(len(pool.questions))]
    asked, left, found = order[: study.first], order[study.first :], []
    while True:
        model = EmbeddingRewardModel(embedder, replicas=_REPLICAS if chooses else 0)
        model.fit([answers[question] for question in asked], validation_fraction=0.0, seed=seed)
        found.append(accuracy_of(model, held_out))
        if len(asked) + study.step > study.labels:
            return found
        chosen = select_pairs(model, left, study.step, rng) if chooses else left[: study.step]
        taken = set(chosen)
        asked, left = asked + chosen, [question for question in left if question not in taken]


def share_saved(random: Sequence[float], active: Sequence[float], study: Study) -> float:
    """Labels that chosen pairs need for the final accuracy of random ones, as a share of the latter's labels.

    Curves are averaged over three rounds, because one round moves an accuracy little more than chance does, and made
    monotone; between rounds they are lines. 1 means nothing was saved; what is not reached within the labels that were
    bought counts as 1 too.
    """
    labels = study.first + study.step * np.arange(1, len(random) - 1)
    goal = _smooth(random)[-1]
    reached = _smooth(active)
    if reached[-1] < goal:
        return 1.0
    after = int(np.argmax(reached >= goal))
    if after == 0:
        return float(labels[0] / labels[-1])
    low, high = reached[after - 1], reached[after]
    needed = labels[after - 1] + study.step * (goal - low) / (high - low)
    return float(needed / labels[-1])


def _smooth(accuracies: Sequence[float]) -> FloatArray:
    return np.maximum.accumulate(np.convolve(accuracies, np.full(3, 1 / 3), "valid"))


def run(options: Options) -> Report:
    """Compare random with chosen pairs; five seeds take the place of repetitions."""
    study = Study(reports=40, first=10, step=10, labels=30, seeds=2) if options.smoke else Study()
    task, embedder = Summarization("reports"), TextEmbedder("tiny")
    measurements, curves, shares, gains = [], [], [], []
    with console.progress("buying labels", study.seeds, "seeds") as ticker:
        for seed in range(study.seeds):
            start = time.perf_counter()
            random, active = curves_of(task, embedder, study, seed)
            curves.append({"random": np.round(random, 3).tolist(), "chosen": np.round(active, 3).tolist()})
            shares.append(share_saved(random, active, study))
            gains.append(active[-1] - random[-1])
            seconds = time.perf_counter() - start
            measurements.append(Measurement(f"seed {seed}", [seconds], [study.labels], {}, None, None))
            ticker.advance(note=f"chosen pairs need {shares[-1]:.0%} of the labels")
    figures = {
        "share of the labels that chosen pairs need": console.with_bounds(mean_interval(shares)),
        "accuracy that they gain with all labels": console.with_bounds(mean_interval(gains)),
        "share of the labels, each seed": [round(share, 2) for share in shares],
        "accuracy after each round, each seed": curves,
    }
    return Report("active-selection", "Labels that choosing the pairs saves", measurements, "labels", figures)


def curves_of(task: Task, embedder: TextEmbedder, study: Study, seed: int) -> tuple[list[float], list[float]]:
    """Accuracies with random and with chosen pairs of the same reports."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(task.dataset))[: study.reports + min(study.reports, _HELD_OUT // 2)].tolist()
    pool = make_pool(task, drawn[: study.reports], rng)
    held_out = make_pool(task, drawn[study.reports :], rng)
    random, active = (curve(embedder, pool, held_out, study, seed, chooses=chooses) for chooses in (False, True))
    return random, active
