"""How answers come about from scores, and who can be trusted."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from textgym.reward_models.evidence import BOTH_BAD, TIE, A, B, Observation
from textgym.reward_models.likelihood import AnswerLikelihood
from textgym.reward_models.losses import bradley_terry_loss
from textgym.reward_models.reliability import RunningReliability, mix_with_guesses, reliability_penalty


def choice(answer: int, annotator: str | None = "ann", weight: float = 1.0) -> Observation:
    return Observation("comparison", "choice", "p", ("x", "y"), (answer,), annotator, weight)


def rating(grade: int, annotator: str = "ann") -> Observation:
    return Observation("rating", "rating", "p", ("x",), (grade,), annotator)


def ranking(*ranks: int) -> Observation:
    return Observation("ranking", "ranking", "p", tuple("xyzw"[: len(ranks)]), ranks, "ann")


def test_choices_of_one_annotator_are_plain_bradley_terry() -> None:
    observations = [choice(A), choice(B, weight=3.0)]
    likelihood = AnswerLikelihood(observations)
    assert (likelihood.log_tie, likelihood.neither, likelihood.log_odds) == (None, None, None)
    scores = torch.tensor([0.2, 1.4, -2.0])
    losses = likelihood(scores, likelihood.collate(observations, [[0, 1], [2, 0]]))
    expected = [
        bradley_terry_loss(scores[[a]], scores[[b]], torch.tensor([y])) for a, b, y in ((0, 1, 1.0), (2, 0, 0.0))
    ]
    assert losses.tolist() == pytest.approx([expected[0].item(), 3 * expected[1].item()])
    assert likelihood.penalty().item() == 0.0


def test_it_starts_from_the_frequencies_of_the_answers() -> None:
    """At equal scores the starting values predict how often each answer was given (half an answer is added)."""
    observations = [choice(A)] * 600 + [choice(TIE)] * 300 + [choice(BOTH_BAD)] * 100
    observations += [rating(1)] * 500 + [rating(3)] * 300 + [rating(5)] * 200
    likelihood = AnswerLikelihood(observations, centre=2.0)
    asked = [choice(TIE), choice(BOTH_BAD), rating(1), rating(3), rating(5)]
    answers = likelihood.collate(asked, [[0, 1], [0, 1], [0], [0], [0]])
    shares = likelihood(torch.tensor([2.0, 2.0]), answers).neg().exp().tolist()
    assert shares == pytest.approx([0.3, 0.1, 0.5, 0.3, 0.2], abs=0.002)


def test_kinds_are_collated_together() -> None:
    observations = [rating(2), ranking(2, 1, 3), choice(B), rating(4), ranking(1, 2)]
    likelihood = AnswerLikelihood(observations)
    answers = likelihood.collate(observations, [[0], [1, 2, 3], [4, 5], [6], [7, 8]])
    assert answers.choice_texts.tolist() == [[4, 5]]
    assert answers.ranked_texts.tolist() == [[1, 2, 3], [7, 8, 0]]
    assert answers.ranks.tolist() == [[2, 1, 3], [1, 2, 0]]
    assert (answers.rated_texts.tolist(), answers.levels.tolist()) == ([0, 6], [1, 2])
    losses = likelihood(torch.zeros(9), answers)
    assert losses[:3].tolist() == pytest.approx([math.log(2), math.log(6), math.log(2)])


def test_guessed_rankings_tie_as_often_as_rankings_do() -> None:
    """Three responses have 13 rankings with ties: 6 of one shape, 3 of each of two others, and 1."""
    every = [ranks for ranks in product((1, 2, 3), repeat=3) if set(ranks) in ({1}, {1, 2}, {1, 2, 3})]
    assert len(every) == 13
    seen = [ranking(1, 2, 3)] * 60 + [ranking(1, 1, 2)] * 30 + [ranking(2, 1, 2)] * 10 + [ranking(1, 1, 1)]
    likelihood = AnswerLikelihood([*seen, ranking(1, 2)])
    asked = [ranking(*ranks) for ranks in every]
    shares = likelihood.collate(asked, [[0, 1, 2]] * 13).ranking_guesses.exp().tolist()
    assert sum(shares) == pytest.approx(1)
    by_ranks = dict(zip(every, shares, strict=True))
    assert by_ranks[1, 2, 3] == by_ranks[3, 1, 2] == pytest.approx(60.5 / 103 / 6)
    assert by_ranks[1, 1, 2] == by_ranks[1, 2, 1] == pytest.approx(30.5 / 103 / 3)


def test_severe_annotators_are_told_from_bad_texts() -> None:
    """The same texts, two grades lower: the severity explains it, the scores need not."""
    observations = [
        rating(grade, name) for shift, name in ((0, "kind"), (-2, "harsh")) for grade in (3 + shift, 5 + shift)
    ]
    likelihood = AnswerLikelihood(observations * 20).double()
    answers = likelihood.collate(observations * 20, [[0], [1]] * 40)
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores, *likelihood.parameters()], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = likelihood(scores, answers).sum() + likelihood.penalty() + scores.square().sum() / 18
        loss.backward()
        return loss

    optimizer.step(closure)
    severity = likelihood.severity
    assert severity["harsh"] == pytest.approx(-severity["kind"], abs=1e-4)
    assert severity["harsh"] > 1.0
    assert (scores[1] - scores[0]).item() > 1.0


def test_mixture_by_hand() -> None:
    """Reliability 0.8, model 0.9, guess 0.5: 0.8 * 0.9 + 0.2 * 0.5."""
    values = (-math.log(0.9), math.log(0.5), math.log(0.8 / 0.2))
    [loss] = mix_with_guesses(*(torch.tensor([value]) for value in values)).tolist()
    assert loss == pytest.approx(-math.log(0.82))
    assert reliability_penalty(torch.tensor([math.log(4.0)])).item() == pytest.approx(-2 * math.log(0.8))


def test_the_gradient_is_weighted_by_the_probability_of_no_guess() -> None:
    loss = torch.tensor([-math.log(0.1)], requires_grad=True)
    mix_with_guesses(loss, torch.tensor([math.log(0.5)]), torch.tensor([math.log(4.0)])).sum().backward()
    assert loss.grad is not None
    assert loss.grad.item() == pytest.approx(0.8 * 0.1 / (0.8 * 0.1 + 0.2 * 0.5))


def test_running_reliability_finds_who_guesses() -> None:
    """Losses of a model that is right with probability 0.9, of three annotators; the fourth is never asked."""
    rng = np.random.default_rng(0)
    right = {0: 0.9, 1: 0.5, 2: 0.1}
    annotators = torch.tensor(np.tile([0, 1, 2, -1], 200))
    agrees = [number >= 0 and rng.random() < right[number] for number in annotators.tolist()]
    losses = -torch.where(torch.tensor(agrees), 0.9, 0.1).log()
    running = RunningReliability(4, memory=10_000)
    found = running.update(losses, torch.full((800,), math.log(0.5)), annotators).sigmoid().tolist()
    assert found[0] > 0.9
    assert found[1] < 0.3
    assert found[2] < 0.05
    assert found[3] > 0.9


def test_running_reliability_forgets() -> None:
    running = RunningReliability(1, memory=50)
    nobody, wrong, right = torch.zeros(50, dtype=torch.long), torch.full((50,), 3.0), torch.full((50,), 0.1)
    guess = torch.full((50,), math.log(0.5))
    assert running.update(wrong, guess, nobody).sigmoid().item() < 0.2
    assert running.update(right, guess, nobody).sigmoid().item() > 0.9
