"""Graphs, averages and penalties of agents that learn apart: known numbers first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from textgym.agents.common.consensus import (
    DISTANCES,
    GRAPHS,
    adapted,
    among,
    averaged,
    decentralized_terms,
    disagreement,
    metropolis_weights,
    neighbours,
)

THIRD = 1 / 3
LINE = [[1], [0, 2], [1, 3], [2]]
# Weights, their second largest eigenvalue by size, and (0, 0, 0, 1) after five rounds.
GOSSIP = {
    "ring": (
        [[THIRD, THIRD, 0, THIRD], [THIRD, THIRD, THIRD, 0], [0, THIRD, THIRD, THIRD], [THIRD, 0, THIRD, THIRD]],
        THIRD,
        [0.2510288065843621, 0.24691358024691354, 0.2510288065843621, 0.2510288065843621],
    ),
    "star": (
        [[0.25] * 4, [0.25, 0.75, 0, 0], [0.25, 0, 0.75, 0], [0.25, 0, 0, 0.75]],
        0.75,
        [0.25, 0.1708984375, 0.1708984375, 0.408203125],
    ),
    "full": ([[0.25] * 4] * 4, 0.0, [0.25] * 4),
    "line": (
        [[2 * THIRD, THIRD, 0, 0], [THIRD, THIRD, THIRD, 0], [0, THIRD, THIRD, THIRD], [0, 0, THIRD, 2 * THIRD]],
        0.804737854124365,
        [0.10699588477366256, 0.18930041152263374, 0.308641975308642, 0.3950617283950618],
    ),
}


@pytest.mark.parametrize("graph", GOSSIP)
def test_averages_with_neighbours_approach_the_mean(graph: str) -> None:
    wanted, contraction, after = GOSSIP[graph]
    weights = metropolis_weights(LINE if graph == "line" else neighbours(graph, 4))  # type: ignore[arg-type]
    np.testing.assert_allclose(weights, wanted, atol=1e-12)
    np.testing.assert_allclose(weights.sum(0), 1.0, atol=1e-12)
    assert sorted(np.abs(np.linalg.eigvalsh(weights)))[-2] == pytest.approx(contraction, abs=1e-12)
    values = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    for _ in range(5):
        known = [{j: values[j : j + 1] for j in range(4) if j == i or weights[i, j]} for i in range(4)]
        values = torch.cat([averaged(i, known[i], weights) for i in range(4)])
    assert values.tolist() == pytest.approx(after, abs=1e-12)
    assert float(values.mean()) == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_neighbours_are_mutual_and_others(graph: str, size: int) -> None:
    found = neighbours(graph, size, round_=3)  # type: ignore[arg-type]
    assert len(found) == size
    for i, row in enumerate(found):
        assert row == sorted(set(row) - {i})
        assert all(i in found[j] for j in row)


def test_the_graphs_of_five_agents() -> None:
    assert neighbours("full", 5)[2] == [0, 1, 3, 4]
    assert neighbours("ring", 5) == [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]
    assert neighbours("star", 5) == [[1, 2, 3, 4], [0], [0], [0], [0]]
    rounds = [neighbours("random", 5, round_) for round_ in range(8)]
    assert all(sorted(map(len, each)) == [0, 1, 1, 1, 1] for each in rounds)
    assert len({str(each) for each in rounds}) > 4
    assert rounds == [neighbours("random", 5, round_) for round_ in range(8)]
    assert rounds != [neighbours("random", 5, round_, seed=1) for round_ in range(8)]
    with pytest.raises(ValueError, match="expected a graph out of full, ring, star, random, got 'tree'"):
        neighbours("tree", 5)  # type: ignore[arg-type]


def test_who_dropped_out_has_no_neighbours_and_keeps_its_own() -> None:
    left = among(neighbours("ring", 4), {0, 1, 3})
    assert left == [[1, 3], [0], [], [0]]
    weights = metropolis_weights(left)
    assert weights[2].tolist() == [0, 0, 1, 0]
    assert weights[0].tolist() == pytest.approx([THIRD, THIRD, 0, THIRD])
    assert weights[1].tolist() == pytest.approx([THIRD, 2 * THIRD, 0, 0])


POLICIES = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], dtype=torch.float64)
DISAGREEMENT = {
    "l2": [0.1718623649715679, 0.2063715709852373, 0.12879011017187578],
    "l1": [0.26666666666666666, 0.3333333333333333, 0.19999999999999998],
    "tv": [0.13333333333333333, 0.16666666666666666, 0.09999999999999999],
    "kl": [0.07320320213188071, 0.11023769575410296, 0.03994967529971189],
}


@pytest.mark.parametrize("distance", DISTANCES)
def test_disagreement_of_three_policies(distance: str) -> None:
    for own in range(3):
        log_probs = POLICIES.log()[[own]].requires_grad_()
        others = [POLICIES.log()[[other]].requires_grad_() for other in range(3) if other != own]
        found = disagreement(log_probs, others, 3, distance)  # type: ignore[arg-type]
        assert found.shape == (1,)
        assert found.tolist() == pytest.approx([DISAGREEMENT[distance][own]], abs=1e-6)
        found.sum().backward()
        assert log_probs.grad is not None
        assert all(other.grad is None for other in others)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_policies_do_not_disagree_and_have_finite_gradients(distance: str) -> None:
    log_probs = POLICIES.log().requires_grad_()
    found = disagreement(log_probs, [POLICIES.log()], 2, distance)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    found.sum().backward()
    assert log_probs.grad is not None
    assert bool(log_probs.grad.isfinite().all())


def test_a_lonely_agent_agrees_and_wrong_arguments_are_named() -> None:
    assert disagreement(POLICIES.log(), [], 1, "l1").tolist() == [0.0] * 3
    with pytest.raises(ValueError, match=r"of shape \(3, 3\), got \[\(2, 3\)\]"):
        disagreement(POLICIES.log(), [POLICIES.log()[:2]], 2, "l1")
    with pytest.raises(ValueError, match="expected a distance out of l1, l2, tv, kl, got 'l3'"):
        disagreement(POLICIES.log(), [POLICIES.log()], 2, "l3")  # type: ignore[arg-type]


OLD = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64).log()
NEW = torch.tensor([[0.6, 0.3, 0.1], [0.25, 0.25, 0.5]], dtype=torch.float64).log()


def test_decentralized_policy_optimization_by_hand() -> None:
    actions, advantages = torch.tensor([0, 2]), torch.tensor([1.0, -0.5], dtype=torch.float64)
    terms = decentralized_terms(NEW, OLD, actions, advantages)
    assert float(terms.policy.mean()) == pytest.approx(
        -0.3916666666666666, abs=1e-6
    )  # -(1.2 * 1 - 0.5 / 0.6 * 0.5) / 2
    assert float(terms.kl.mean()) == pytest.approx(0.03380208563285031, abs=1e-6)
    assert float(terms.sqrt_kl.mean()) == pytest.approx(0.1798863456643754, abs=1e-6)
    loss = terms.policy.mean() + terms.sqrt_kl.mean() + terms.kl.mean()
    assert float(loss) == pytest.approx(-0.1779782353694409, abs=1e-6)
    assert float(terms.kl[0]) == pytest.approx(0.5 * math.log(0.5 / 0.6) + 0.2 * math.log(2), abs=1e-12)


def test_before_the_first_step_its_gradient_is_the_policy_gradient() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    log_probs, actions, advantages = logits.log_softmax(-1), torch.tensor([0, 1, 2, 3]), torch.linspace(-1.0, 1.0, 4)
    terms = decentralized_terms(log_probs, log_probs.detach(), actions, advantages)
    assert terms.kl.tolist() == pytest.approx([0.0] * 4, abs=1e-9)
    (terms.policy.mean() + 3 * terms.sqrt_kl.mean() + 5 * terms.kl.mean()).backward()
    wanted = -(torch.nn.functional.one_hot(actions, 5) - logits.detach().softmax(-1)) * advantages[:, None] / 4
    torch.testing.assert_close(logits.grad, wanted, atol=1e-9, rtol=0)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"actions and advantages \(N,\), got"):
        decentralized_terms(NEW, OLD, torch.tensor([0, 2]), torch.zeros(2, 1))


def test_coefficients_double_and_halve() -> None:
    assert adapted(1.0, 0.016, 0.01) == 2.0
    assert adapted(1.0, 0.0065, 0.01) == 0.5
    assert [adapted(1.0, value, 0.01) for value in (0.0067, 0.01, 0.015)] == [1.0] * 3
    assert adapted(1e-3, 0.0, 0.01) == 1e-3  # a policy that stands still halves it no further
    assert adapted(1e3, 9.0, 0.01) == 1e3
