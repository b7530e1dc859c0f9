"""Selection of the next questions: those the model is unsure about, spread over the prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from textgym.feedback.types import Question
from textgym.reward_models.calibration import sigmoid
from textgym.types import FloatArray, Shown

_LEAST = 1e-9  # nats; less disagreement than that counts as much
_TINY = 1e-300  # stands for a discount of 0, whose log is infinite


class Committee(Protocol):
    """Several opinions about the same texts.

    :class:`~textgym.reward_models.embedding.EmbeddingRewardModel` with replicas is one, and so is
    :class:`~textgym.reward_models.ensemble.RewardEnsemble`.
    """

    def raw_members(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Raw scores by every member, shape ``(M, n)``."""
        ...


def disagreement(committee: Committee, questions: Sequence[Question]) -> FloatArray:
    """Return how much an answer to each question is expected to tell which member is right, in nats, shape ``(n,)``.

    The mutual information between the answer and the member: the entropy of the members' mean prediction, less the mean
    of their entropies. It is 0 where all agree, also where all agree that it is a toss-up.

    Args:
        committee: Two members or more.
        questions: ``n`` questions about two responses.

    Raises:
        ValueError: If a question is about another number of responses, or the committee has fewer than two members.

    References:
        Houlsby, Huszar, Ghahramani and Lengyel, "Bayesian active learning for classification and preference learning"
        (2011), arXiv:1112.5745, equation 2.
    """
    if any(len(question.responses) != 2 for question in questions):
        raise ValueError("expected questions about two responses, got others; make pairs of them first")
    prompts = [question.prompt for question in questions]
    first, second = (
        committee.raw_members(prompts, [question.responses[side] for question in questions]) for side in (0, 1)
    )
    if len(first) < 2:
        raise ValueError(f"expected a committee of two members or more, got {len(first)}; fit with more replicas")
    probabilities = sigmoid(first - second)  # (M, n)
    gained = _entropy(probabilities.mean(axis=0)) - _entropy(probabilities).mean(axis=0)
    return np.asarray(np.maximum(gained, 0.0))


def select_pairs(
    committee: Committee,
    candidates: Sequence[Question],
    k: int,
    rng: np.random.Generator,
    *,
    discount: float = 0.5,
    coldness: float = 1.0,
) -> list[Question]:
    """Choose the next ``k`` questions: more often those with more disagreement, balanced over prompts.

    A question's value is its :func:`disagreement`, times ``discount`` for every question about its prompt that has been
    chosen before it. Questions are drawn one after the other with probabilities proportional to their values: the most
    disputed ones alone resemble each other, and teach little where the model cannot get them right. Pairs of equal
    texts are never chosen.

    Args:
        committee: Members whose disagreement counts.
        candidates: Questions that could be asked, each about two responses.
        k: How many to choose; fewer come back if there are fewer.
        rng: Decides what is drawn.
        discount: 1 ignores prompts; 0 asks about every prompt once before any a second time.
        coldness: Power of the values that probabilities are proportional to: 0 is chance, ``math.inf`` takes the most
            valuable question every time.

    Returns:
        The questions in the order they were drawn.

    Raises:
        ValueError: If ``k`` or ``coldness`` is negative, ``discount`` outside [0, 1], or as :func:`disagreement`.

    References:
        Kirsch et al., "Stochastic batch acquisition" (2021), arXiv:2106.12059, on drawing instead of ranking.
    """
    if k < 0 or not 0 <= discount <= 1 or not coldness >= 0:
        raise ValueError(
            f"expected k and coldness of at least 0 and a discount in [0, 1], got {k}, {coldness} and {discount}; "
            "correct them"
        )
    shuffled = [candidates[i] for i in rng.permutation(len(candidates))]
    left = [question for question in shuffled if len({text.strip() for text in question.responses}) > 1]
    keys = _keys(disagreement(committee, left), coldness, rng) if left else []
    fall = (1.0 if coldness == np.inf else coldness) * np.log(max(discount, _TINY))
    order = sorted(range(len(left)), key=lambda i: -keys[i])
    asked: Counter[Shown] = Counter()
    chosen: list[Question] = []
    while order and len(chosen) < k:
        # Keys fall within a prompt, so that only the first question left of each prompt can be the best.
        heads: dict[Shown, int] = {}
        for i in order:
            heads.setdefault(left[i].prompt, i)
        best = max(heads.values(), key=lambda i: keys[i] + fall * asked[left[i].prompt])
        order.remove(best)
        asked[left[best].prompt] += 1
        chosen.append(left[best])
    return chosen


def _keys(values: FloatArray, coldness: float, rng: np.random.Generator) -> list[float]:
    """Numbers whose order is a draw without replacement, proportional to powers of the values (the Gumbel trick)."""
    logs = np.log(np.maximum(values, _LEAST))
    return list(logs if coldness == np.inf else coldness * logs + rng.gumbel(size=len(values)))


def _entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy of a choice between two, in nats."""
    inside = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(-inside * np.log(inside) - (1 - inside) * np.log1p(-inside))
