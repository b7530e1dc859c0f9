"""The likelihood of answers of every kind given scores, with its own learned parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from textgym.reward_models.evidence import BOTH_BAD, TIE, Observation
from textgym.reward_models.losses import choice_losses, cumulative_logit_losses, plackett_luce_losses
from textgym.reward_models.reliability import mix_with_guesses, reliability_penalty, start_log_odds

_NOBODY = -1


class Answers(NamedTuple):
    """Observations as tensors, the N of them in the order choices, rankings, ratings; texts are numbered.

    Attributes:
        choice_texts: (C, 2).
        choices: (C,).
        ranked_texts: (R, K), padded with 0.
        ranks: (R, K), padded with 0.
        ranking_guesses: (R,) log probabilities of guessing the same.
        rated_texts: (G,).
        levels: (G,) grades, numbered from 1 on without gaps.
        annotators: (N,); -1 is nobody.
        weights: (N,).
    """

    choice_texts: Tensor
    choices: Tensor
    ranked_texts: Tensor
    ranks: Tensor
    ranking_guesses: Tensor
    rated_texts: Tensor
    levels: Tensor
    annotators: Tensor
    weights: Tensor


class AnswerLikelihood(nn.Module):
    """Likelihood of observations given scores.

    Choices follow Davidson's extension of Bradley-Terry, with an option to take neither; rankings Plackett-Luce with
    ties; ratings a cumulative logit, after each annotator's severity has been taken off. With two annotators or more,
    each has a reliability. What the observations never show (ties, say) has no parameter.

    Args:
        observations: Observations to learn from.
        centre: Roughly the mean of the scores; thresholds start around it.
    """

    log_guessed_choice: Tensor
    log_guessed_level: Tensor

    def __init__(self, observations: Sequence[Observation], centre: float = 0.0) -> None:
        super().__init__()
        choices = Counter(each.answer[0] for each in observations if each.form == "choice")
        grades = Counter(each.answer[0] for each in observations if each.form == "rating")
        largest = max((_largest_tie(each) for each in observations if each.form == "ranking"), default=1)
        named = sorted({each.annotator for each in observations if each.annotator is not None})
        self.annotators: dict[str | None, int] = {name: number for number, name in enumerate(named)}
        self._shapes = Counter(_shape(each) for each in observations if each.form == "ranking")
        self._levels = {grade: level for level, grade in enumerate(sorted(grades), start=1)}
        decided = choices.total() - choices[TIE] - choices[BOTH_BAD]
        self.log_tie = _parameter(_log_ratio(2 * choices[TIE], decided)) if choices[TIE] else None
        self.neither = _parameter(centre + _log_ratio(2 * choices[BOTH_BAD], decided)) if choices[BOTH_BAD] else None
        self.log_ties = nn.Parameter(torch.full((largest - 1,), -2.0))
        self.first_threshold, self.log_gaps = _thresholds(grades, centre)
        self.severities = nn.Parameter(torch.zeros(len(named)))
        self.log_odds = nn.Parameter(start_log_odds(len(named))) if len(named) > 1 else None
        halves = [decided / 2, decided / 2, choices[TIE], choices[BOTH_BAD]]
        self.register_buffer("log_guessed_choice", _log_shares(halves))
        self.register_buffer("log_guessed_level", _log_shares([grades[grade] for grade in self._levels]))

    @property
    def reliability(self) -> dict[str, float]:
        """Share of each annotator's answers that are not guesses, by name; empty with a single annotator."""
        if self.log_odds is None:
            return {}
        return self._by_name(self.log_odds.detach().sigmoid())

    @property
    def severity(self) -> dict[str, float]:
        """Return how much lower than others each annotator rates, in units of the score, by name."""
        severities = self.severities.detach()
        return self._by_name(severities - severities.mean()) if self._levels else {}

    @property
    def thresholds(self) -> Tensor:
        """(L - 1,) borders between the grades, rising."""
        return self.first_threshold + torch.cat([self.log_gaps.new_zeros(1), self.log_gaps.exp().cumsum(0)])

    def collate(self, observations: Sequence[Observation], texts: Sequence[Sequence[int]]) -> Answers:
        """Turn observations into tensors.

        Args:
            observations: ``n`` of them, among those given at the start.
            texts: Numbers of the texts of each.
        """
        rows = list(zip(observations, texts, strict=True))
        choices, rankings, ratings = ([row for row in rows if row[0].form == form] for form in _FORMS)
        width = max((len(numbers) for _, numbers in rankings), default=0)
        ordered = [each for each, _ in (*choices, *rankings, *ratings)]
        device, dtype = self.severities.device, self.severities.dtype
        return Answers(
            _integers([list(numbers) for _, numbers in choices], device).reshape(-1, 2),
            _integers([each.answer[0] for each, _ in choices], device),
            _integers([_padded(numbers, width) for _, numbers in rankings], device).reshape(len(rankings), width),
            _integers([_padded(each.answer, width) for each, _ in rankings], device).reshape(len(rankings), width),
            torch.tensor([self._log_guessed_ranking(each) for each, _ in rankings], dtype=dtype, device=device),
            _integers([numbers[0] for _, numbers in ratings], device),
            _integers([self._levels[each.answer[0]] for each, _ in ratings], device),
            _integers([self.annotators.get(each.annotator, _NOBODY) for each in ordered], device),
            torch.tensor([each.weight for each in ordered], dtype=dtype, device=device),
        )

    def forward(self, scores: Tensor, answers: Answers) -> Tensor:
        """Weighted losses of ``N`` observations, (N,); scores: (T,)."""
        losses, log_guess = self.losses_and_guesses(scores, answers)
        if self.log_odds is not None:
            mixed = mix_with_guesses(losses, log_guess, self.log_odds[answers.annotators.clamp(min=0)])
            losses = torch.where(answers.annotators == _NOBODY, losses, mixed)
        return answers.weights * losses

    def losses_and_guesses(self, scores: Tensor, answers: Answers) -> tuple[Tensor, Tensor]:
        """Losses of ``N`` observations that are not guesses, and log probabilities of guessing the same, both (N,)."""
        parts, guesses = [], []
        if len(answers.choices):
            a, b = scores[answers.choice_texts].unbind(1)
            parts.append(choice_losses(a, b, answers.choices, self.log_tie, self.neither))
            guesses.append(self.log_guessed_choice[answers.choices])
        if len(answers.ranks):
            parts.append(plackett_luce_losses(scores[answers.ranked_texts], answers.ranks, self.log_ties))
            guesses.append(answers.ranking_guesses)
        if len(answers.levels):
            parts.append(self._rating_losses(scores, answers))
            guesses.append(self.log_guessed_level[answers.levels - 1])
        return torch.cat(parts), torch.cat(guesses)

    def penalty(self) -> Tensor:
        """Negative log prior of all parameters: standard normal severities, trusted annotators."""
        normal = self.severities.square().sum() / 2
        return normal if self.log_odds is None else normal + reliability_penalty(self.log_odds)

    def _log_guessed_ranking(self, ranking: Observation) -> float:
        """Guesses tie as often as rankings of so many responses do; what is tied, and the order, is chance."""
        shape, size = _shape(ranking), len(ranking.responses)
        same_size = [count for other, count in self._shapes.items() if sum(other) == size]
        share = (self._shapes[shape] + 0.5) / (sum(same_size) + 0.5 * len(same_size))
        return math.log(share) + sum(math.lgamma(tied + 1) for tied in shape) - math.lgamma(size + 1)

    def _by_name(self, values: Tensor) -> dict[str, float]:
        return {str(name): float(values[number]) for name, number in self.annotators.items()}

    def _rating_losses(self, scores: Tensor, answers: Answers) -> Tensor:
        rated_by = answers.annotators[len(answers.choices) + len(answers.ranks) :]
        leniency = -self.severities[rated_by]  # a rating always has an annotator
        # Scores have no slope of their own here: it would grow without end where all grades can be distinguished, and
        # undo whatever keeps the scores small.
        return cumulative_logit_losses(scores[answers.rated_texts] + leniency, answers.levels, self.thresholds)


_FORMS = ("choice", "ranking", "rating")


def _shape(ranking: Observation) -> tuple[int, ...]:
    """Return how many responses share the first place, the second, and so on."""
    tied = Counter(ranking.answer)
    return tuple(tied[rank] for rank in sorted(tied))


def _largest_tie(ranking: Observation) -> int:
    return max(Counter(ranking.answer).values())


def _parameter(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value))


def _log_ratio(count: float, others: float) -> float:
    """Log of a ratio of counts, half of one added to each."""
    return math.log((count + 0.5) / (others + 0.5))


def _log_shares(counts: Sequence[float]) -> Tensor:
    total = sum(counts)
    return torch.tensor([math.log((count + 0.5) / (total + 0.5 * len(counts))) for count in counts])


def _thresholds(grades: Counter[int], centre: float) -> tuple[nn.Parameter, nn.Parameter]:
    """First border and log gaps to start from: what the frequencies of the grades say if all scores were equal."""
    counts = [grades[grade] for grade in sorted(grades)]
    below = [sum(counts[: level + 1]) for level in range(len(counts) - 1)]
    borders = [centre + _log_ratio(count, sum(counts) - count) for count in below] or [centre]
    gaps = [math.log(max(high - low, 0.1)) for low, high in pairwise(borders)]
    return _parameter(borders[0]), nn.Parameter(torch.tensor(gaps))


def _integers(values: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device=device)


def _padded(numbers: Sequence[int], width: int) -> list[int]:
    return [*numbers, *[0] * (width - len(numbers))]
