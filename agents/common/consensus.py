"""The arithmetic of agents that learn apart and are drawn together, as pure functions: graphs, averages, penalties.

Shapes: ``M`` is a number of agents, ``N`` of tokens, ``V`` of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from textgym.types import FloatArray

Graph = Literal["full", "ring", "star", "random"]
GRAPHS: tuple[Graph, ...] = get_args(Graph)
Distance = Literal["l1", "l2", "tv", "kl"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
_SMALLEST, _LARGEST = 1e-3, 1e3  # coefficients of penalties
_UNDER_ROOT = 1e-12  # keeps the slope of the root finite where the policy has not moved


def neighbours(graph: Graph, size: int, round_: int = 0, seed: int = 0) -> list[list[int]]:
    """Return the neighbours of each of ``size`` agents, in ascending order; they are mutual.

    Args:
        graph: ``"full"``: all others; ``"ring"``: the one before and the one behind; ``"star"``: all with agent 0;
            ``"random"``: a partner, drawn for every round; of an odd number of agents, one has none
            (randomized gossip, Boyd et al. 2006, doi:10.1109/TIT.2006.874516).
        size: Number of agents.
        round_: Number of the exchange.
        seed: Seed of random partners: all agents draw the same without telling each other.

    Raises:
        ValueError: For another graph.
    """
    everyone = range(size)
    match graph:
        case "full":
            edges = {(i, j) for i in everyone for j in everyone}
        case "ring":
            edges = {(i, (i + 1) % size) for i in everyone}
        case "star":
            edges = {(0, i) for i in everyone}
        case "random":
            order = np.random.default_rng((seed, round_)).permutation(size).tolist()
            edges = set(zip(order[::2], order[1::2], strict=False))
        case _:
            raise ValueError(f"expected a graph out of {', '.join(GRAPHS)}, got {graph!r}; choose one")
    return [sorted({j for j in everyone if j != i and ((i, j) in edges or (j, i) in edges)}) for i in everyone]


def among(graph: Sequence[Sequence[int]], present: Collection[int]) -> list[list[int]]:
    """Return a graph without the edges of agents that dropped out."""
    return [[j for j in row if i in present and j in present] for i, row in enumerate(graph)]


def metropolis_weights(graph: Sequence[Sequence[int]]) -> FloatArray:
    """Metropolis weights (M, M) of averages with neighbours (Xiao, Boyd and Lall 2005, doi:10.1109/IPSN.2005.1440896).

    W_ij = 1 / (1 + max(d_i, d_j)) for neighbours of degrees d, and W_ii is what is left of 1: symmetric, with rows and
    columns that sum to 1, so that the mean of all agents is kept and, in a connected graph, approached by each.
    """
    weights = np.zeros((len(graph), len(graph)))
    for i, row in enumerate(graph):
        for j in row:
            weights[i, j] = 1.0 / (1 + max(len(row), len(graph[j])))
        weights[i, i] = 1.0 - weights[i].sum()
    return weights


def averaged(own: int, parameters: Mapping[int, Tensor], weights: FloatArray) -> Tensor:
    """Average of an agent's parameters with those of its neighbours, added up in the order of their numbers.

    Args:
        own: Number of the agent.
        parameters: Tensors of one shape by agent: its own, and those of its neighbours.
        weights: (M, M) of :func:`metropolis_weights`.
    """
    total = torch.zeros_like(parameters[own])
    for number in sorted(parameters):
        total += float(weights[own, number]) * parameters[number]
    return total


def disagreement(log_probs: Tensor, others: Sequence[Tensor], agents: int, distance: Distance) -> Tensor:
    """Distance of other policies from one's own, 1 / M sum_j ||pi_j(. | s) - pi_i(. | s)||, per token.

    Args:
        log_probs: (N, V) of the agent's own policy; the only ones with gradients.
        others: (N, V) of each of its neighbours.
        agents: M.
        distance: ``"l1"`` and ``"l2"`` norms of the difference of probabilities, ``"tv"``: total variation, half of the
            first, ``"kl"``: KL(pi_j || pi_i).

    Returns:
        (N,).

    Raises:
        ValueError: For another distance, or tensors of other shapes.
    """
    if any(other.shape != log_probs.shape for other in others):
        shapes = [tuple(other.shape) for other in others]
        raise ValueError(f"expected log-probabilities of shape {tuple(log_probs.shape)}, got {shapes}; score one batch")
    total = torch.zeros_like(log_probs[:, 0])
    for other in others:
        total = total + _distance(log_probs, other.detach(), distance)
    return total / agents


def _distance(log_probs: Tensor, other: Tensor, distance: Distance) -> Tensor:
    """The distance (N,) of one other policy."""
    difference = other.exp() - log_probs.exp()
    match distance:
        case "l1":
            return difference.abs().sum(-1)
        case "tv":
            return 0.5 * difference.abs().sum(-1)
        case "l2":
            return (difference.square().sum(-1) + _UNDER_ROOT).sqrt()
        case "kl":
            return (other.exp() * (other - log_probs)).sum(-1)
    raise ValueError(f"expected a distance out of {', '.join(DISTANCES)}, got {distance!r}; choose one")


class DecentralizedTerms(NamedTuple):
    """The three parts of the loss of :func:`decentralized_terms`, each (N,)."""

    policy: Tensor
    sqrt_kl: Tensor
    kl: Tensor


def decentralized_terms(
    log_probs: Tensor, old_log_probs: Tensor, actions: Tensor, advantages: Tensor
) -> DecentralizedTerms:
    """Parts of the loss of Decentralized Policy Optimization per token (Su and Lu 2022, arXiv:2211.03032).

    The loss to minimize is ``E[policy] + b1 E[sqrt_kl] + b2 E[kl]``: the ratio is not clipped. What bounds how far an
    agent moves, whatever the others do, are sqrt(KL(old || new)) and KL(old || new), over the whole vocabulary.

    Args:
        log_probs: (N, V) of the policy as it is now.
        old_log_probs: (N, V) of the policy that wrote the tokens.
        actions: (N,) the tokens.
        advantages: (N,).

    Raises:
        ValueError: For tensors of other shapes.
    """
    count = (len(log_probs),)
    if log_probs.shape != old_log_probs.shape or actions.shape != count or advantages.shape != count:
        shapes = [tuple(each.shape) for each in (log_probs, old_log_probs, actions, advantages)]
        raise ValueError(f"expected log-probabilities (N, V) twice, actions and advantages (N,), got {shapes}")
    chosen = actions[:, None]
    ratio = (log_probs.gather(-1, chosen) - old_log_probs.gather(-1, chosen))[:, 0].exp()
    kl = (old_log_probs.exp() * (old_log_probs - log_probs)).sum(-1)
    return DecentralizedTerms(-ratio * advantages, (kl.clamp(min=0.0) + _UNDER_ROOT).sqrt(), kl)


def adapted(coefficient: float, value: float, target: float) -> float:
    """Return a coefficient after an update: half of it where the penalty is far below its target, twice above.

    It stays within bounds from which it finds back: a policy that has learned moves no more, and would halve it for
    ever.

    Args:
        coefficient: Coefficient so far.
        value: Mean of what it weighs, after the update.
        target: Value to hold: within a factor of 1.5 of it nothing changes.
    """
    if value < target / 1.5:
        return max(coefficient / 2, _SMALLEST)
    return min(coefficient * 2, _LARGEST) if value > 1.5 * target else coefficient
