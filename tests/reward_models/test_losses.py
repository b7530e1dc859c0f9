"""The preference loss by hand, and the learning-rate schedule."""

import itertools
import math

import pytest
import torch

from textgym.reward_models.losses import (
    bradley_terry_loss,
    choice_losses,
    cumulative_logit_losses,
    learning_rate_share,
    plackett_luce_losses,
)


def loss(difference: float, label: float) -> float:
    return bradley_terry_loss(torch.tensor([difference]), torch.tensor([0.0]), torch.tensor([label])).item()


@pytest.mark.parametrize(
    ("difference", "label", "expected"),
    [
        (0.0, 1.0, math.log(2)),
        (math.log(3), 1.0, -math.log(0.75)),
        (math.log(3), 0.0, -math.log(0.25)),
        (0.0, 0.5, math.log(2)),
        (math.log(3), 0.5, -0.5 * math.log(0.75 * 0.25)),
        (200.0, 0.0, 200.0),
        (200.0, 1.0, 0.0),
    ],
)
def test_loss_by_hand(difference: float, label: float, expected: float) -> None:
    assert loss(difference, label) == pytest.approx(expected, abs=1e-6)


def test_loss_is_a_mean_and_ignores_shifts() -> None:
    a, b, labels = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert bradley_terry_loss(a, b, labels).item() == pytest.approx(expected)
    assert bradley_terry_loss(a + 7, b + 7, labels).item() == pytest.approx(expected)


def test_gradient_by_hand() -> None:
    a = torch.tensor([math.log(3)], requires_grad=True)
    bradley_terry_loss(a, torch.zeros(1), torch.ones(1)).backward()
    assert a.grad is not None
    assert a.grad.item() == pytest.approx(0.75 - 1)


def test_half_precision_scores_are_compared_in_fp32() -> None:
    """Checklist 13: losses in fp32 whatever the model's dtype."""
    scores = torch.tensor([1.0], dtype=torch.bfloat16)
    assert bradley_terry_loss(scores, 0 * scores, torch.ones(1)).dtype == torch.float32
    assert bradley_terry_loss(scores.double(), 0 * scores.double(), torch.ones(1)).dtype == torch.float64


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(2,\), \(2,\) and \(2, 1\)"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1))


def test_schedule_rises_then_falls() -> None:
    shares = [learning_rate_share(step, 10, warmup=0.2) for step in range(10)]
    assert shares == pytest.approx([1 / 2, 1, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9])
    assert learning_rate_share(0, 1) == 1.0


A, B, TIE, BOTH_BAD = range(4)


def choice_loss(difference: float, choice: int, log_tie: float | None = None, neither: float | None = None) -> float:
    extras = [None if value is None else torch.tensor(value) for value in (log_tie, neither)]
    scores = torch.tensor([difference]), torch.zeros(1)
    return choice_losses(*scores, torch.tensor([choice]), *extras).item()


def test_choices_without_ties_are_bradley_terry() -> None:
    scores_a, scores_b = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([1.0, 0.5, 0.0])
    choices = torch.tensor([A, B, A])
    expected = bradley_terry_loss(scores_a, scores_b, 1.0 - choices)
    assert torch.equal(choice_losses(scores_a, scores_b, choices).mean(), expected)


def test_ties_by_hand() -> None:
    """Davidson with strengths 4 and 1 and delta 0.5: 4, 1 and 0.5 * 2 parts of 6."""
    for choice, parts in ((A, 4), (B, 1), (TIE, 1)):
        assert choice_loss(math.log(4), choice, math.log(0.5)) == pytest.approx(-math.log(parts / 6), abs=1e-6)


def test_both_bad_by_hand() -> None:
    """Strengths 4 and 1, going without 3: 4, 1 and 3 parts of 8; with ties 1 part more."""
    for choice, parts in ((A, 4), (B, 1), (BOTH_BAD, 3)):
        assert choice_loss(math.log(4), choice, None, math.log(3)) == pytest.approx(-math.log(parts / 8), abs=1e-6)
    assert choice_loss(math.log(4), TIE, math.log(0.5), math.log(3)) == pytest.approx(-math.log(1 / 9), abs=1e-6)


def test_both_bad_lowers_both_scores_and_a_tie_draws_them_together() -> None:
    for choice, signs in ((BOTH_BAD, (1, 1)), (TIE, (1, -1)), (A, (-1, 1))):
        a, b = torch.tensor([1.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
        choice_losses(a, b, torch.tensor([choice]), torch.tensor(0.0), torch.tensor(0.0)).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad.sign().item(), b.grad.sign().item()) == signs


NO_TIES = torch.zeros(0)


def test_rankings_by_hand() -> None:
    """Strengths 4, 2, 1 in this order: 4/7 * 2/3."""
    scores = torch.tensor([[4.0, 2.0, 1.0], [1.0, 4.0, 2.0]]).log()
    ranks = torch.tensor([[1, 2, 3], [3, 1, 2]])
    expected = -math.log(4 / 7 * 2 / 3)
    assert plackett_luce_losses(scores, ranks, NO_TIES).tolist() == pytest.approx([expected, expected], abs=1e-6)


def test_padding_of_rankings_changes_nothing() -> None:
    scores = torch.tensor([[4.0, 2.0, 1.0]]).log()
    padded = torch.cat([torch.full((1, 1), 9.0), scores, torch.full((1, 2), -3.0)], 1)
    ranks = torch.tensor([[0, 2, 1, 3, 0, 0]])
    expected = plackett_luce_losses(scores, ranks[:, 1:4], NO_TIES).item()
    assert plackett_luce_losses(padded, ranks, NO_TIES).item() == pytest.approx(expected, abs=1e-6)


def test_tied_rankings_by_hand() -> None:
    """Strengths 4, 1, 1 with delta 0.5: the pairs weigh 1, 1 and 0.5 beside 6; then one response is left."""
    scores = torch.tensor([[4.0, 1.0, 1.0]]).log()
    log_ties = torch.tensor([0.5]).log()
    first_two = plackett_luce_losses(scores, torch.tensor([[1, 1, 2]]), log_ties).item()
    assert first_two == pytest.approx(-math.log(1 / 8.5), abs=1e-6)
    last_two = plackett_luce_losses(scores, torch.tensor([[1, 2, 2]]), log_ties).item()
    assert last_two == pytest.approx(-math.log(4 / 8.5 * 0.5 / 2.5), abs=1e-6)


def test_all_tied_rankings_of_two_are_choices() -> None:
    scores, log_tie = torch.tensor([[1.3, -0.2]]), torch.tensor(-0.4)
    for ranks, choice in (([1, 2], A), ([2, 1], B), ([1, 1], TIE)):
        loss_of_ranking = plackett_luce_losses(scores, torch.tensor([ranks]), log_tie[None])
        assert loss_of_ranking.item() == pytest.approx(choice_loss(1.5, choice, -0.4), abs=1e-6)


def ordered_partitions(items: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All rankings with ties, as ranks without gaps."""
    found = itertools.product(range(1, len(items) + 1), repeat=len(items))
    return [ranks for ranks in found if set(ranks) == set(range(1, max(ranks) + 1))]


def test_probabilities_of_all_rankings_with_ties_add_up_to_one() -> None:
    rankings = torch.tensor(ordered_partitions((0, 1, 2, 3)))
    assert len(rankings) == 75
    scores = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64).expand(75, 4)
    log_ties = torch.tensor([-0.3, 0.2, -1.0], dtype=torch.float64)
    assert plackett_luce_losses(scores, rankings, log_ties).neg().exp().sum().item() == pytest.approx(1.0)


def test_gradients_of_rankings_are_those_of_differences() -> None:
    scores = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    log_ties = torch.tensor([-0.5], dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([[1, 2, 3, 4], [1, 1, 2, 3], [2, 1, 2, 0], [1, 2, 0, 0], [3, 2, 1, 1]])
    assert torch.autograd.gradcheck(lambda s, t: plackett_luce_losses(s, ranks, t), (scores, log_ties))


def test_grades_by_hand() -> None:
    thresholds = torch.tensor([-math.log(3), math.log(3)])  # at score 0: 1/4, 1/2, 1/4
    losses = cumulative_logit_losses(torch.zeros(3), torch.tensor([1, 2, 3]), thresholds)
    assert losses.tolist() == pytest.approx([math.log(4), math.log(2), math.log(4)], abs=1e-6)
    best = cumulative_logit_losses(torch.tensor([math.log(3)]), torch.tensor([3]), thresholds)
    assert best.item() == pytest.approx(-math.log(0.5), abs=1e-6)


def test_grades_far_out_stay_finite() -> None:
    scores = torch.tensor([300.0, -300.0, 300.0], requires_grad=True)
    losses = cumulative_logit_losses(scores, torch.tensor([1, 3, 2]), torch.tensor([-1.0, 1.0]))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([301.0, 301.0, 299.0 - math.log(1 - math.exp(-2))], abs=1e-3)
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([1.0, -1.0, 1.0], abs=1e-6)
