"""Several reward models for one reward: the mean of their scores, and how far they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from textgym.feedback.types import Record
from textgym.reward_models import storage
from textgym.reward_models.evidence import Evidence, Split
from textgym.reward_models.fitting import Checkpoints, Training
from textgym.reward_models.learned import LearnedReward
from textgym.reward_models.preference import PreferenceRewardModel
from textgym.reward_models.report import FitReport
from textgym.types import FloatArray, Shown

KIND = "ensemble"


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

    def fit(
        self,
        records: Sequence[Record] | Split,
        *,
        criterion: str | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
        checkpoints: Checkpoints | None = None,
        **settings: Any,
    ) -> FitReport:
        """Fit every member to the same prompts, reweighted at random (Bayesian bootstrap); measure their mean.

        Args:
            records, criterion: As :meth:`~textgym.reward_models.preference.PreferenceRewardModel.fit`.
            validation_fraction: Share of the prompts that no member sees.
            seed: Of the split; member i is fitted with ``seed + i``.
            checkpoints: Has a part for every member.
            settings: More arguments of :meth:`~textgym.reward_models.preference.PreferenceRewardModel.fit`.

        Returns:
            The report of the mean, also kept as :attr:`report`; its losses, gradient norms, reliabilities and
            severities are means over the members.

        Raises:
            DataError, RewardError, ValueError: As :meth:`~textgym.reward_models.preference.PreferenceRewardModel.fit`.
        """

        def train(evidence: Evidence) -> Training:
            reports = [
                member.fit(
                    Split(evidence),
                    seed=seed + number,
                    resample=True,
                    checkpoints=checkpoints and checkpoints.part(f"member-{number}"),
                    **settings,
                )
                for number, member in enumerate(self._models)
            ]
            losses = np.mean([report.losses for report in reports], axis=0).tolist()
            norms = np.mean([report.gradient_norms for report in reports], axis=0).tolist()
            return Training(
                losses,
                norms,
                len(losses) // settings.get("epochs", 1),
                _mean([report.reliability for report in reports]),
                _mean([report.severity for report in reports]),
            )

        return self._learn(records, criterion, validation_fraction, seed, train)

    def save(self, folder: str | Path) -> None:
        """Write a folder: a JSON card, and a folder per member.

        :meth:`~textgym.reward_models.preference.PreferenceRewardModel.save` writes these.

        Raises:
            CheckpointError: If the folder holds something else than a reward model.
        """
        storage.write_folder(folder, self._write)

    def _write(self, folder: Path) -> None:
        for number, member in enumerate(self._models):
            member.save(_member(folder, number))
        storage.write_card(folder, {"kind": KIND, "format": 1, "members": len(self.members), **self._state()})

    @classmethod
    def load(cls, folder: str | Path) -> RewardEnsemble:
        """Read a folder written by :meth:`save`.

        Raises:
            CheckpointError: If it is incomplete, damaged, or a reward model of another kind.
        """
        folder, card = storage.open_folder(folder, KIND)
        with storage.complete(folder):
            count = storage.integer(card["members"])
            model = cls([PreferenceRewardModel.load(_member(folder, number)) for number in range(count)])
            model._restore(card)
        return model

    @property
    def _models(self) -> list[PreferenceRewardModel]:
        return [member for member in self.members if isinstance(member, PreferenceRewardModel)]


def _member(folder: Path, number: int) -> Path:
    return folder / f"member-{number}"


def _mean(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}
