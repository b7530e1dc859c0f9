"""Simulated annotators: they answer questions as people do, noisily, by a score that nobody else gets to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.errors import RewardError
from textgym.feedback.answers import By, answer_compare
from textgym.types import BoolArray, Choice, Comparison, Example, FloatArray, Question, RewardFn

Scorer = Callable[[Sequence[str], Sequence[str]], "npt.NDArray[Any] | Sequence[float]"]
"""``scorer(responses, task_keys) -> n`` numbers; higher is better."""


class BradleyTerryAnnotator:
    """Prefers response a with probability ``sigmoid((score_a - score_b) / temperature)``.

    A stand-in for people: the score is what they care about, the temperature how inconsistent they are. Reward models
    are given the choices only, never the score.

    Args:
        score: ``score(responses, task_keys)`` -> ``n`` finite numbers, for instance a task's gold quality, or a ROUGE
            score through `reward_scorer`. Called once per `compare`, with the responses a followed by the responses b.
        temperature: Score difference at which the better text wins with probability 0.73; 0 is an annotator who is
            never wrong (and tosses a coin between equal texts).
        rng: Source of the noise. One number is drawn per question, whatever the answer.
        tie_margin: A difference smaller than this is answered ``"tie"``.
        name: Goes into the records.

    Raises:
        ValueError: If temperature or margin is negative.

    References:
        Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952).
    """

    def __init__(
        self,
        score: Scorer,
        temperature: float,
        rng: np.random.Generator,
        tie_margin: float = 0.0,
        name: str = "simulated",
    ) -> None:
        if not (temperature >= 0 and tie_margin >= 0):
            raise ValueError(f"expected temperature and tie_margin >= 0, got {temperature}, {tie_margin}; raise them")
        self.name = name
        self.temperature = temperature
        self.tie_margin = tie_margin
        self._score = score
        self._rng = rng

    def compare(self, questions: Sequence[Question]) -> list[Comparison]:
        """Answer every question, in order.

        Args:
            questions: ``n`` questions; none is legal.

        Returns:
            ``n`` records.

        Raises:
            RewardError: If the score is not one finite number per text.
        """
        differences = self._differences(questions)
        prefers_a = self._rng.random(len(questions)) < preference_probability(differences, self.temperature)
        ties = np.abs(differences) < self.tie_margin
        answers = zip(questions, _choices(prefers_a, ties), strict=True)
        return [record for question, choice in answers for record in answer_compare(question, choice, By(self.name))]

    def _differences(self, questions: Sequence[Question]) -> FloatArray:
        """Score of a minus score of b, shape (n,)."""
        if not questions:
            return np.zeros(0)
        texts = [question.responses[place] for place in (0, 1) for question in questions]
        scores = np.asarray(self._score(texts, [question.task_key for question in questions] * 2), dtype=np.float64)
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            raise RewardError(
                f"expected {len(texts)} finite scores for the annotator {self.name!r}, got shape {scores.shape} with "
                f"{int((~np.isfinite(scores)).sum())} not finite; correct the score function"
            )
        return scores[: len(questions)] - scores[len(questions) :]


def preference_probability(differences: FloatArray, temperature: float) -> FloatArray:
    """``sigmoid(differences / temperature)``, shape ``(n,)``; a step, with 0.5 at 0, for temperature 0."""
    if temperature == 0:
        return 0.5 + 0.5 * np.sign(differences)
    return np.asarray(0.5 + 0.5 * np.tanh(differences / (2 * temperature)))


def reward_scorer(reward: RewardFn, examples: Mapping[str, Example]) -> Scorer:
    """Let an annotator judge by any reward, such as ROUGE against the references.

    Args:
        reward: Called with the examples' raw prompts.
        examples: Example by task key.

    Returns:
        A scorer for `BradleyTerryAnnotator`.
    """

    def score(responses: Sequence[str], task_keys: Sequence[str]) -> npt.NDArray[Any]:
        asked = [examples[key] for key in task_keys]
        return np.asarray(reward([example.prompt for example in asked], responses, asked))

    return score


def _choices(prefers_a: BoolArray, ties: BoolArray) -> list[Choice]:
    return ["tie" if tie else "a" if a else "b" for a, tie in zip(prefers_a, ties, strict=True)]
