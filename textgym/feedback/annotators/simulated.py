"""Simulated annotators: they answer questions as people do, noisily, by a score that nobody else gets to see."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from statistics import NormalDist
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from textgym.checks import require_range
from textgym.errors import RewardError
from textgym.feedback.records.answers import (
    Behaviour,
    By,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
)
from textgym.feedback.types import Choice, Comparison, Question, Record, shown_order
from textgym.metrics.words import count_words
from textgym.naming import argument
from textgym.rewards import score as score_by
from textgym.types import BoolArray, Example, FloatArray, RewardFn, Shown, shown_text


@runtime_checkable
class PromptScorer(Protocol):
    """A scorer that is also given what was shown before each response."""

    def score_responses(
        self, prompts: Sequence[Shown], responses: Sequence[str], task_keys: Sequence[str]
    ) -> npt.ArrayLike:
        """Return ``n`` numbers; higher is better."""
        ...


Scorer = Callable[[Sequence[str], Sequence[str]], npt.ArrayLike] | PromptScorer
"""``scorer(responses, task_keys) -> n`` numbers, higher is better; or a :class:`PromptScorer`."""

_POLITE = re.compile(r"\b(please|thanks?|thank you|sorry|kindly|welcome|appreciate|glad|happy to)\b", re.IGNORECASE)
_SECONDS_TO_DECIDE = 2.0
_COPY_RATE = 0.3


class BradleyTerryAnnotator:
    """Prefers response a with probability ``sigmoid((score_a - score_b) / temperature)``.

    A stand-in for people: the score is what they care about, the temperature how inconsistent they are. Reward models
    are given the choices only, never the score.

    Args:
        score: ``score(responses, task_keys)`` -> ``n`` finite numbers, for instance a task's gold quality, or a ROUGE
            score through :func:`reward_scorer`. Called once per :meth:`compare`, with the responses a followed by the
            responses b.
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

    def answer(self, questions: Sequence[Question]) -> list[tuple[Comparison, ...]]:
        """Answer as :meth:`compare`, one record per question; ``ValueError`` if one asks something else."""
        others = {question.mode for question in questions} - {"compare"}
        if others:
            raise ValueError(f"expected questions to compare, got {', '.join(others)}; ask a SimulatedPerson")
        return [(record,) for record in self.compare(questions)]

    def _differences(self, questions: Sequence[Question]) -> FloatArray:
        """Score of a minus score of b, shape (n,)."""
        asked = list(questions) * 2
        texts = [question.responses[place] for place in (0, 1) for question in questions]
        scores = score_texts(self._score, asked, texts, self.name)
        return scores[: len(questions)] - scores[len(questions) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The deviations of one simulated person from the score, in units of the score unless said otherwise.

    What a person feels about a text is its score plus ``length_bias``, ``position_bias``, ``politeness_bias`` and the
    opinion of the group; choices are made by that feeling plus noise.

    Attributes:
        noise: Difference at which the better text wins with probability 0.73; 0 is never wrong. Rankings follow
            Plackett and Luce, grades get logistic noise of this scale.
        tie_margin: Feelings closer than this are a tie.
        bad_below: If no text feels better than this, both are bad.
        length_bias: Added for every doubling of the number of words.
        position_bias: Added to the text shown first; less to later ones, nothing to the last.
        politeness_bias: Added if the text has a polite word in it.
        group: People of one group like the same texts.
        group_weight: Standard deviation of the group's own opinion of a text, which no other group shares.
        fatigue: Share by which the noise has grown after 100 answers: 1 doubles it.
        attention: Share of questions that are read at all; the others, attention checks as well, are answered at random
            and in a fifth of the time. 0 is a spammer.
        skip_rate: Share of questions that are skipped.
        scale: Feeling that deserves the grade 1, and the one that deserves 5. In natural use, a text half way is opened
            with probability 0.5 once it is seen.
        severity: Grades given less than deserved; negative is lenient.
        edit_effort: Share of the differences to the reference that are corrected when a text is edited.
        examination_decay: The text at place ``p`` (0 is the first) is seen with probability ``(1 + p) ** -decay``.
        words_per_second: Reading speed. Dwell time is the time to read the share of the text that was worth it.
    """

    noise: float = 0.1
    tie_margin: float = 0.0
    bad_below: float = -math.inf
    length_bias: float = 0.0
    position_bias: float = 0.0
    politeness_bias: float = 0.0
    group: str = ""
    group_weight: float = 0.0
    fatigue: float = 0.0
    attention: float = 1.0
    skip_rate: float = 0.0
    scale: tuple[float, float] = (0.0, 1.0)
    severity: float = 0.0
    edit_effort: float = 0.5
    examination_decay: float = 1.0
    words_per_second: float = 4.0

    def __post_init__(self) -> None:
        values = asdict(self)
        for name in ("noise", "tie_margin", "group_weight", "fatigue", "examination_decay"):
            require_range(name, values[name], 0)
        for name in ("length_bias", "position_bias", "politeness_bias", "severity"):
            require_range(name, values[name], -math.inf)
        for name in ("attention", "skip_rate", "edit_effort"):
            if not 0 <= values[name] <= 1:
                raise ValueError(f"expected {argument(name)} in [0, 1], got {values[name]}; it is a share")
        require_range("words_per_second", self.words_per_second, math.nextafter(0, 1))
        if math.isnan(self.bad_below) or self.bad_below == math.inf:
            raise ValueError(f"expected bad_below that is finite, or -inf for never, got {self.bad_below}; lower it")
        if not -math.inf < self.scale[0] < self.scale[1] < math.inf:
            raise ValueError(
                f"expected a scale from a lower to a higher score, both finite, got {self.scale}; correct it"
            )


class SimulatedPerson:
    """Answers questions of every kind by a score, with the habits of a person.

    Args:
        score: Score as for :class:`BradleyTerryAnnotator`; called once per :meth:`answer`, with the responses of all
            questions.
        rng: Source of everything random.
        habits: Deviations of this person from the score.
        name: Goes into the records.
        references: A good text by task key, for edits; a text without one is left as it is.
        start: Time of the first question, in seconds since 1970; the time of later ones follows from how long answers
            take. ``None`` leaves the time out of the records.
    """

    def __init__(
        self,
        score: Scorer,
        rng: np.random.Generator,
        habits: Habits | None = None,
        *,
        name: str = "simulated",
        references: Mapping[str, str] | None = None,
        start: float | None = None,
    ) -> None:
        self.name = name
        self.habits = habits or Habits()
        self._score = score
        self._rng = rng
        self._references = references or {}
        self._now = start
        self._answered = 0

    def answer(self, questions: Sequence[Question]) -> list[tuple[Record, ...]]:
        """Answer every question, in order; a skip has no records.

        :attr:`~textgym.feedback.types.Question.mode` says which records answer one.

        Raises:
            RewardError: If the score is not one finite number per text.
        """
        texts = [text for question in questions for text in question.responses]
        asked = [question for question in questions for _ in question.responses]
        scores = iter(score_texts(self._score, asked, texts, self.name))
        return [self._answer(question, _take(scores, len(question.responses))) for question in questions]

    def _answer(self, question: Question, scores: FloatArray) -> tuple[Record, ...]:
        reads = self._rng.random() < self.habits.attention
        skips = self._rng.random() < self.habits.skip_rate
        # Who does not read feels something all the same, but nothing about the texts.
        feelings = self._feelings(question, scores) if reads else self._rng.uniform(*self.habits.scale, len(scores))
        by = self._spend_time(question, reads)
        if skips:
            return ()
        noise = self.habits.noise * (1 + self.habits.fatigue * self._answered / 100)
        self._answered += 1
        if question.mode == "compare":
            return answer_compare(question, self._choose(feelings, noise), by)
        if question.mode == "rank":
            return answer_rank(question, self._rank(feelings, noise), by)
        if question.mode == "rate":
            criteria = [
                {name: self._grade(feeling, noise) for name in question.criteria} for feeling in feelings.tolist()
            ]
            return answer_rate(question, [self._grade(feeling, noise) for feeling in feelings.tolist()], by, criteria)
        if question.mode == "edit":
            return self._edit(question, feelings, noise, by)
        return answer_natural(question, self._behave(question, feelings, noise), by)

    def _feelings(self, question: Question, scores: FloatArray) -> FloatArray:
        """Return the person's scores of the responses before any noise, shape (k,)."""
        habits, count = self.habits, len(scores)
        words = np.array([max(count_words(text), 1) for text in question.responses])
        polite = np.array([bool(_POLITE.search(text)) for text in question.responses])
        opinions = np.array([_opinion(habits.group, text) for text in question.responses])
        nearness = np.empty(count)  # 1 for the response shown first, 0 for the last
        nearness[list(shown_order(count, question.order_seed))] = np.linspace(1, 0, count) if count > 1 else 1.0
        biases = habits.length_bias * np.log2(words) + habits.politeness_bias * polite
        return np.asarray(scores + biases + habits.group_weight * opinions + habits.position_bias * nearness)

    def _choose(self, feelings: FloatArray, noise: float) -> Choice:
        if feelings.max() < self.habits.bad_below:
            return "both_bad"
        if abs(feelings[0] - feelings[1]) < self.habits.tie_margin:
            return "tie"
        return "a" if self._rank(feelings, noise)[0] == 1 else "b"

    def _rank(self, feelings: FloatArray, noise: float) -> list[int]:
        """Rank by Plackett and Luce: Gumbel noise on every feeling; what feels equal is in random order."""
        noisy = feelings + noise * self._rng.gumbel(size=len(feelings))
        best_first = np.lexsort((self._rng.random(len(feelings)), -noisy))
        return [int(rank) for rank in np.argsort(best_first) + 1]

    def _grade(self, feeling: float, noise: float) -> int:
        low, high = self.habits.scale
        deserved = 1 + 4 * (feeling + noise * self._rng.logistic() - low) / (high - low)
        return round(min(max(deserved - self.habits.severity, 1.0), 5.0))

    def _edit(self, question: Question, feelings: FloatArray, noise: float, by: By) -> tuple[Record, ...]:
        choice = self._choose(feelings, noise) if len(feelings) == 2 else None
        edited = 1 if choice == "b" else 0
        before = question.responses[edited]
        reference = self._references.get(question.task_key, before)
        return answer_edit(question, self._mend(before, reference), edited, choice, by)

    def _mend(self, text: str, reference: str) -> str:
        """Apply each difference between the words of a text and a reference with the probability of the effort."""
        old, new = text.split(), reference.split()
        if old == new:
            return text
        words: list[str] = []
        for _, start, stop, new_start, new_stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            correct = self._rng.random() < self.habits.edit_effort
            words += new[new_start:new_stop] if correct else old[start:stop]
        return " ".join(words)

    def _behave(self, question: Question, feelings: FloatArray, noise: float) -> list[Behaviour]:
        """See the responses place by place, open what appeals, and read on as long as it does."""
        appeals = preference_probability(feelings - sum(self.habits.scale) / 2, noise)
        behaviours: dict[int, Behaviour] = {}
        for place, response in enumerate(shown_order(len(feelings), question.order_seed)):
            seen = self._rng.random() < (1 + place) ** -self.habits.examination_decay
            clicked = bool(seen and self._rng.random() < appeals[response])
            share = float(np.clip(appeals[response] + 0.1 * self._rng.normal(), 0.05, 1.0)) if clicked else 0.0
            dwell = share * self._reading_seconds(question.responses[response])
            behaviours[response] = Behaviour(
                place, clicked, dwell, share, bool(self._rng.random() < _COPY_RATE * share)
            )
        return [behaviours[response] for response in range(len(feelings))]

    def _reading_seconds(self, text: str) -> float:
        return count_words(text) / self.habits.words_per_second * float(self._rng.lognormal(0.0, 0.3))

    def _spend_time(self, question: Question, reads: bool) -> By:
        texts = (shown_text(question.prompt), *question.responses)
        seconds = _SECONDS_TO_DECIDE + sum(self._reading_seconds(text) for text in texts)
        seconds *= 1.0 if reads else 0.2
        if self._now is not None:
            self._now += seconds
        return By(self.name, self._now, seconds)


def simulated_people(
    score: Scorer,
    n: int,
    rng: np.random.Generator,
    habits: Habits | None = None,
    *,
    groups: int = 1,
    spammers: float = 0.0,
    severity_spread: float = 0.5,
    references: Mapping[str, str] | None = None,
    start: float | None = None,
) -> list[SimulatedPerson]:
    """Make people who share a score and habits, but not noise, severity, and group.

    Args:
        score: Score as for :class:`SimulatedPerson`; so are ``references`` and ``start``.
        n: Number of people.
        rng: Generator from which the generators of the people are drawn.
        habits: Habits of the average person. The noise of each is up to some 30 % larger or smaller.
        groups: Number of groups, of equal size.
        spammers: Share of people with ``attention`` 0, the last ones.
        severity_spread: Standard deviation of the severity, in grades.
    """
    average = habits or Habits()
    people = []
    for number in range(n):
        own = replace(
            average,
            noise=average.noise * float(rng.lognormal(0.0, 0.15)),
            severity=average.severity + severity_spread * float(rng.normal()),
            group=f"{average.group}{number % groups}",
            attention=0.0 if number >= n - round(spammers * n) else average.attention,
        )
        name = f"simulated-{number + 1}"
        people.append(SimulatedPerson(score, rng.spawn(1)[0], own, name=name, references=references, start=start))
    return people


def preference_probability(differences: FloatArray, temperature: float) -> FloatArray:
    """``sigmoid(differences / temperature)``, shape ``(n,)``; a step, with 0.5 at 0, for temperature 0."""
    if temperature == 0:
        return 0.5 + 0.5 * np.sign(differences)
    return np.asarray(0.5 + 0.5 * np.tanh(differences / (2 * temperature)))


@dataclass(frozen=True, slots=True)
class RewardScorer:
    """Scores responses by a reward, behind what the question shows before them.

    Attributes:
        reward: Any reward; checked as environments check it.
        examples: Example by task key.
    """

    reward: RewardFn
    examples: Mapping[str, Example]

    def score_responses(
        self, prompts: Sequence[Shown], responses: Sequence[str], task_keys: Sequence[str]
    ) -> FloatArray:
        """Score ``n`` responses, shape ``(n,)``.

        Raises:
            RewardError: The reward does not return one finite number per response.
        """
        return score_by(self.reward, prompts, responses, [self.examples[key] for key in task_keys]).total

    def __call__(self, responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
        """Score ``n`` responses to what the examples themselves say, where no question is at hand; shape ``(n,)``."""
        return self.score_responses([self.examples[key].prompt for key in task_keys], responses, task_keys)


def reward_scorer(reward: RewardFn, examples: Mapping[str, Example]) -> RewardScorer:
    """Let an annotator answer by any reward, such as ROUGE against the references.

    Args:
        reward: Called as environments call it: with the prompts of the questions, formatted texts or conversations.
        examples: Example by task key.

    Returns:
        A scorer for :class:`BradleyTerryAnnotator`.
    """
    return RewardScorer(reward, examples)


def _choices(prefers_a: BoolArray, ties: BoolArray) -> list[Choice]:
    return ["tie" if tie else "a" if a else "b" for a, tie in zip(prefers_a, ties, strict=True)]


def score_texts(scorer: Scorer, questions: Sequence[Question], texts: Sequence[str], name: str) -> FloatArray:
    """Return one finite score per text, shape ``(n,)``.

    Args:
        scorer: Is called once, unless there is no text.
        questions: The question that each of ``n`` texts answers.
        texts: The texts.
        name: The annotator, for error messages.

    Raises:
        RewardError: The scores are not ``n`` finite numbers.
    """
    if not texts:
        return np.zeros(0)
    keys = [question.task_key for question in questions]
    if isinstance(scorer, PromptScorer):
        given = scorer.score_responses([question.prompt for question in questions], texts, keys)
    else:
        given = scorer(texts, keys)
    scores = np.asarray(given, dtype=np.float64)
    if scores.shape != (len(texts),) or not np.isfinite(scores).all():
        raise RewardError(
            f"expected {len(texts)} finite scores for the annotator {name!r}, got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} not finite; correct the score function"
        )
    return scores


def _take(scores: Iterator[float], n: int) -> FloatArray:
    return np.array(list(itertools.islice(scores, n)))


def _opinion(group: str, text: str) -> float:
    """A group's opinion of a text: a standard normal number that depends on nothing else."""
    digest = hashlib.sha256(f"{group}\n{text}".encode("utf-8", "surrogatepass")).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest[:6], "big") + 0.5) / 2**48)
