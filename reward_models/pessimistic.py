"""An ensemble's score less its disagreement: a reward for texts that all members know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from textgym.errors import ModelError
from textgym.reward_models.learned import LearnedReward
from textgym.reward_models.loading import load_reward
from textgym.rewards import ScoredConversations, Scores
from textgym.types import Example, FloatArray, Shown, Task


@runtime_checkable
class _HasSpread(Protocol):
    def spread(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray: ...


class PessimisticReward(ScoredConversations):
    """The score of a reward ensemble minus ``beta`` standard deviations over its members.

    Args:
        model: Folder of an ensemble: of ``textgym reward fit --members 4``, or of embeddings with ``--members``.
        beta: How much disagreement costs.

    Raises:
        ModelError: The reward has one member only.
        ValueError: ``beta`` is negative.

    References:
        Coste et al., "Reward model ensembles help mitigate overoptimization" (2023), arXiv:2310.02743,
        uncertainty-weighted optimisation, with the standard deviation in place of the variance.
    """

    name = "pessimistic"

    def __init__(self, model: str | Path, beta: float = 1.0) -> None:
        if beta < 0:
            raise ValueError(f"expected beta of at least 0, got {beta}: disagreement would be rewarded")
        reward = load_reward(model)
        if not isinstance(reward, LearnedReward) or not isinstance(reward, _HasSpread):
            raise ModelError(
                f"expected a reward of several members in {str(model)!r}, got one that cannot disagree with itself; "
                "fit one with: textgym reward fit --members 4"
            )
        self._reward, self._spread, self._beta = reward, reward.spread, beta

    def bind(self, task: Task | None) -> PessimisticReward:
        """Return itself: a reward model needs no task."""
        return self

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses; parts are the ``"mean"`` of the members and their ``"spread"``, both normalised."""
        mean = self._reward.score(prompts, responses, examples).total
        spread = self._spread(prompts, responses) / self._reward.normalisation.std
        return Scores(mean - self._beta * spread, {"mean": mean, "spread": spread})
