from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from textgym.models.decoding.sampling import sample_tokens
from textgym.models.log_probs import log_prob_and_entropy, log_probs_of


def logits_of(rows: int = 7, size: int = 11, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, size, dtype=torch.float64, generator=generator)


def test_numbers_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0986122886681098, 0.0, -1e9, -1e9]], dtype=torch.float64)
    log_probs, entropy = log_prob_and_entropy(logits, torch.tensor([2, 0]))
    # uniform over 4: -ln 4 and ln 4; (3/4, 1/4): ln 3/4 and -(3/4 ln 3/4 + 1/4 ln 1/4)
    assert log_probs.tolist() == pytest.approx([-1.3862943611198906, -0.2876820724517809], abs=1e-12)
    assert entropy.tolist() == pytest.approx([1.3862943611198906, 0.5623351446188083], abs=1e-12)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_values_and_gradients_are_those_of_torch(entropy_weight: float) -> None:
    actions = torch.tensor([0, 3, 3, 10, 5, 1, 7])
    weights = torch.linspace(-2, 2, 7, dtype=torch.float64)
    ours, theirs = logits_of().requires_grad_(), logits_of().requires_grad_()
    log_probs, entropy = log_prob_and_entropy(ours, actions)
    reference = Categorical(logits=theirs)
    torch.testing.assert_close(log_probs, reference.log_prob(actions), rtol=0, atol=1e-12)
    torch.testing.assert_close(entropy, reference.entropy(), rtol=0, atol=1e-12)
    (log_probs * weights + entropy_weight * entropy * weights.flip(0)).sum().backward()
    (reference.log_prob(actions) * weights + entropy_weight * reference.entropy() * weights.flip(0)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_entropy_alone_and_log_prob_alone() -> None:
    actions = torch.tensor([0, 3, 3, 10, 5, 1, 7])
    for which in (0, 1):
        ours, theirs = logits_of().requires_grad_(), logits_of().requires_grad_()
        log_prob_and_entropy(ours, actions)[which].sum().backward()
        reference = Categorical(logits=theirs)
        (reference.log_prob(actions), reference.entropy())[which].sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    actions = torch.tensor([4, 0, 2])
    logits = logits_of(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: log_prob_and_entropy(x, actions), (logits,))


def test_a_forbidden_token_has_no_probability_and_no_gradient() -> None:
    logits = logits_of(2, 6)
    logits[:, 4] = -1e9
    logits.requires_grad_()
    log_probs, entropy = log_prob_and_entropy(logits, torch.tensor([0, 1]))
    (log_probs + entropy).sum().backward()
    assert torch.isfinite(entropy).all()
    assert logits.grad is not None
    assert logits.grad[:, 4].tolist() == [0.0, 0.0]
    assert log_prob_and_entropy(logits, torch.tensor([4, 4]))[0].max() < -1e8


def test_large_logits_stay_finite_in_fp32() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    log_probs, entropy = log_prob_and_entropy(logits, torch.tensor([1]))
    (log_probs + entropy).sum().backward()
    assert log_probs.item() == -1e4
    assert entropy.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 1.0, 0.0]]


def test_sampling_frequencies() -> None:
    probs = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05], dtype=torch.float64)
    count = 40_000
    logits = probs.log().clamp(min=-1e9).float().expand(count, 5)
    tokens = sample_tokens(logits, torch.Generator().manual_seed(0)).tokens
    counts = torch.bincount(tokens, minlength=5)
    assert counts[1] == 0
    spread = (count * probs * (1 - probs)).sqrt() + 1e-9
    assert ((counts - count * probs).abs() / spread).max() < 4


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600, 768])
def test_frequencies_of_many_ids(size: int) -> None:
    """Ids are found by blocks: the borders of a block, and a short last one, count like all others."""
    count = 60_000
    row = logits_of(1, size)[0] * 0.5
    tokens = sample_tokens(row.expand(count, size), torch.Generator().manual_seed(0)).tokens
    expected = count * row.double().softmax(-1)
    chi_squared = float(((torch.bincount(tokens, minlength=size) - expected) ** 2 / expected).sum())
    assert abs(chi_squared - (size - 1)) <= 4 * (2 * (size - 1)) ** 0.5


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("place", [0, 255, 256, 511, 512, 599])
def test_the_only_possible_id_is_drawn_wherever_it_is(
    place: int, drawn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, drawn, dtype=torch.float64))
    logits = torch.full((1, 600), -1e9)
    logits[0, place] = -3.0
    sample = sample_tokens(logits)
    assert sample.tokens.tolist() == [place]
    assert sample.log_probs.tolist() == [0.0]


def test_rows_are_independent() -> None:
    logits = torch.zeros(4000, 2)
    tokens = sample_tokens(logits, torch.Generator().manual_seed(1)).tokens.double()
    assert abs(float(torch.corrcoef(torch.stack([tokens[:-1], tokens[1:]]))[0, 1])) < 0.06


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-53])
def test_tokens_of_probability_zero_are_never_drawn(drawn: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends of [0, 1) meet zero-probability ids at both ends of the vocabulary, and between."""
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, drawn, dtype=torch.float64))
    logits = torch.tensor([[-1e9, -1e9, 0.0, -1e9, 1.0, -1e9], [2.0, -1e9, -1e9, -1e9, -1e9, -1e9]])
    expected = [2, 0] if drawn == 0.0 else [4, 0]
    assert sample_tokens(logits).tokens.tolist() == expected


def test_shifted_and_huge_logits_sample_alike() -> None:
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(3))
    first = sample_tokens(logits, torch.Generator().manual_seed(4)).tokens
    assert torch.equal(first, sample_tokens(logits + 512.0, torch.Generator().manual_seed(4)).tokens)


def test_global_generator_by_default_and_reproducible() -> None:
    logits = torch.zeros(20, 50)
    torch.manual_seed(1)
    first = sample_tokens(logits).tokens
    torch.manual_seed(1)
    assert torch.equal(first, sample_tokens(logits).tokens)
    assert not torch.equal(first, sample_tokens(logits).tokens)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(FloatingPointError, match="finite logits"):
        sample_tokens(torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probabilities_of_what_was_drawn(dtype: torch.dtype) -> None:
    logits = logits_of(500, 40).to(dtype) + 300
    tokens, log_probs = sample_tokens(logits)
    expected = logits.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12  # fp32 has five digits behind the point at 300
    torch.testing.assert_close(log_probs.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(log_probs_of(logits, tokens).double(), expected, rtol=0, atol=tolerance)
    assert log_probs.dtype == dtype


def test_entropy_of_many_rows_and_large_vocabularies() -> None:
    """Sums that are taken a few rows at a time."""
    for rows, size in ((300, 2000), (3, 2**18 + 5)):
        logits = logits_of(rows, size).float()
        log_probs, entropy = log_prob_and_entropy(logits, torch.arange(rows))
        expected = Categorical(logits=logits.double())
        torch.testing.assert_close(entropy.double(), expected.entropy(), rtol=1e-4, atol=0)
        torch.testing.assert_close(log_probs.double(), expected.log_prob(torch.arange(rows)), rtol=0, atol=1e-4)
