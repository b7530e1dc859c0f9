"""The preference loss by hand, and the learning-rate schedule."""

import math

import pytest
import torch

from textgym.reward_models.losses import bradley_terry_loss, learning_rate_share


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
