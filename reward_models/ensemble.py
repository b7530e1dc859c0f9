"""Several reward models for one reward: the mean of their scores, and how far they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import nn

from textgym.reward_models.evidence import Evidence, Split
from textgym.reward_models.fitting import Checkpoints, Training
from textgym.reward_models.learned import LearnedReward
from textgym.reward_models.preference import PreferenceRewardModel
from textgym.types import FloatArray, JsonObject, Shown
from textgym.values import expect_integer


class RewardEnsemble(LearnedReward):
    """Mean of several language models with scalar heads (a :class:`~textgym.types.RewardFn`), one seed each.

        reward = RewardEnsemble([PreferenceRewardModel("tiny") for _ in range(4)])
        reward.fit(records)
        unsure = reward.spread(prompts, responses)

    :class:`~textgym.reward_models.embedding.EmbeddingRewardModel` has its ensemble built in (``replicas``).

    Args:
        members: Two models or more.

    Raises:
        ValueError: If there are fewer than two, or one is given twice.

    References:
        Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
        ensembles" (2017), arXiv:1612.01474; Coste et al., "Reward model ensembles help mitigate overoptimization"
        (2023), arXiv:2310.02743.
    """

    kind = "ensemble"

    def __init__(self, members: Sequence[PreferenceRewardModel]) -> None:
        super().__init__()
        if len(members) < 2 or len({id(member) for member in members}) < len(members):
            raise ValueError(f"expected two different models or more, got {len(members)}; make each by itself")
        self.members = nn.ModuleList(members)

    def raw(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Mean of the members' raw scores; arguments, return value and errors as in :meth:`forward`."""
        return np.asarray(self.raw_members(prompts, responses).mean(axis=0))

    def raw_members(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Raw scores by every member, shape ``(M, n)``."""
        return np.stack([member.raw(prompts, responses) for member in self._models])

    def spread(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Standard deviation of the raw score over the members, shape ``(n,)``."""
        return np.asarray(self.raw_members(prompts, responses).std(axis=0))

    def learn(
        self, evidence: Evidence, *, seed: int = 0, checkpoints: Checkpoints | None = None, **options: Any
    ) -> Training:
        """Fit every member to the same prompts, reweighted at random (Bayesian bootstrap).

        Args:
            evidence: Observations read from records.
            seed: Member i is fitted with ``seed + i``.
            checkpoints: Has a part for every member.
            options: More arguments of :meth:`~textgym.reward_models.preference.PreferenceRewardModel.learn`.

        Returns:
            Means over the members of losses, gradient norms, reliabilities and severities.
        """
        reports = [
            member.fit(
                Split(evidence),
                seed=seed + number,
                resample=True,
                checkpoints=checkpoints and checkpoints.part(f"member-{number}"),
                **options,
            )
            for number, member in enumerate(self._models)
        ]
        losses = np.mean([report.losses for report in reports], axis=0).tolist()
        norms = np.mean([report.gradient_norms for report in reports], axis=0).tolist()
        return Training(
            losses,
            norms,
            len(losses) // options.get("epochs", 1),
            _mean([report.reliability for report in reports]),
            _mean([report.severity for report in reports]),
        )

    def _write_parts(self, folder: Path) -> dict[str, object]:
        for number, member in enumerate(self._models):
            member.save(_member(folder, number))
        return {"members": len(self.members)}

    @classmethod
    def _read_parts(cls, folder: Path, card: JsonObject) -> Self:
        count = expect_integer(card["members"])
        return cls([PreferenceRewardModel.load(_member(folder, number)) for number in range(count)])

    @property
    def _models(self) -> list[PreferenceRewardModel]:
        return [member for member in self.members if isinstance(member, PreferenceRewardModel)]


def _member(folder: Path, number: int) -> Path:
    return folder / f"member-{number}"


def _mean(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}
