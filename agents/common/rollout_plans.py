"""Plans of rollouts: which tokens count, and when a rollout ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from textgym.naming import argument
from textgym.types import BoolArray

UnfinishedTexts = Literal["bootstrap", "drain", "carry", "carry_recompute"]
UNFINISHED_TEXTS: tuple[UnfinishedTexts, ...] = ("bootstrap", "drain", "carry", "carry_recompute")


class RolloutPlan(ABC):
    """A plan for one rollout of ``B`` environments, which is told after each step which texts ended.

    Attributes:
        begins_anew: Whether all environments begin with new prompts.
        counts: (B,) whether the tokens of the next step belong to the rollout.
        cuts: Whether texts that the end finds unfinished count nevertheless, up to there.
        carries: Whether these texts count in a later rollout, in which they end.
    """

    begins_anew: ClassVar[bool] = False
    cuts: ClassVar[bool] = False
    carries: ClassVar[bool] = False

    def __init__(self, n_envs: int) -> None:
        self.counts: BoolArray = np.ones(n_envs, dtype=bool)

    @abstractmethod
    def is_over(self) -> bool:
        """Return whether the rollout ends here."""

    @abstractmethod
    def step(self, dones: BoolArray) -> None:
        """Take note of a step, after which some texts, ``dones`` (B,), ended."""


class Steps(RolloutPlan):
    """A number of steps of each environment; a text that the end cuts counts as far as it was written."""

    cuts = True

    def __init__(self, n_envs: int, n_steps: int) -> None:
        super().__init__(n_envs)
        self._left = n_steps

    def is_over(self) -> bool:
        """Return whether all steps were made."""
        return self._left <= 0

    def step(self, dones: BoolArray) -> None:
        """Count the step."""
        self._left -= 1


class StepsThatCarry(Steps):
    """A number of steps, and further ones until a text ended, because texts count when they end."""

    cuts, carries = False, True

    def __init__(self, n_envs: int, n_steps: int) -> None:
        super().__init__(n_envs, n_steps)
        self._has_texts = False

    def is_over(self) -> bool:
        """Return whether all steps were made, and a text ended."""
        return super().is_over() and self._has_texts

    def step(self, dones: BoolArray) -> None:
        """Count the step."""
        super().step(dones)
        self._has_texts |= bool(dones.any())


class WholeTexts(RolloutPlan):
    """A number of whole texts of each environment; what one writes beyond its share does not count."""

    begins_anew = True

    def __init__(self, n_envs: int, each: int) -> None:
        super().__init__(n_envs)
        self._left = np.full(n_envs, each)

    def is_over(self) -> bool:
        """Return whether every environment has written its share."""
        return not self.counts.any()

    def step(self, dones: BoolArray) -> None:
        """Count the texts that ended."""
        self._left -= dones & self.counts
        self.counts = self._left > 0


class Drain(RolloutPlan):
    """Whole texts, with about as many tokens as the steps of all environments: from some step on, no prompt is begun.

    Environments go on until the texts that are under way then have ended. What others write meanwhile does not count.
    The step is the one from which these texts end, on average, at ``n_steps``: the text that is under way in an
    environment at a point in time has E[l^2] / 2 E[l] tokens left, if texts have lengths l (the inspection paradox).
    """

    begins_anew = True

    def __init__(self, n_envs: int, n_steps: int) -> None:
        super().__init__(n_envs)
        self._left = n_steps
        self._lengths = np.zeros(n_envs)
        self._sums = np.zeros(2)  # of the lengths of texts that ended, and of their squares
        self._begins_none = False

    def is_over(self) -> bool:
        """Return whether the last of the texts that count has ended."""
        return not self.counts.any()

    def step(self, dones: BoolArray) -> None:
        """Take note of lengths, and of whether another prompt is begun."""
        self._left -= 1
        self._lengths += 1
        ended = self._lengths[dones]
        self._lengths[dones] = 0
        self._sums += ended.sum(), np.square(ended).sum()
        rest = float(self._sums[1] / (2 * self._sums[0])) if self._sums[0] else 0.0
        self._begins_none = self._begins_none or self._left <= rest
        if self._begins_none:
            self.counts = self.counts & ~dones


def require_plan(unfinished: str, rollout_texts: int | None) -> None:
    """Check settings of rollouts.

    Raises:
        ValueError: There is no such treatment of unfinished texts, or one besides the default where all are whole.
    """
    if unfinished not in UNFINISHED_TEXTS:
        raise ValueError(
            f"expected {argument('unfinished_texts')} to be one of {', '.join(UNFINISHED_TEXTS)}, got {unfinished!r}; "
            "choose one"
        )
    if rollout_texts is not None and unfinished != "bootstrap":
        raise ValueError(
            f"expected no {argument('unfinished_texts')} with {argument('rollout_texts', rollout_texts)}, whose texts "
            f"are all finished, got {unfinished!r}; leave one of them out"
        )


def make_plan(unfinished: UnfinishedTexts, n_envs: int, n_steps: int) -> RolloutPlan:
    """Make the plan of a rollout of about ``n_steps`` tokens of each environment.

    Args:
        unfinished: Treatment of texts that the end finds unfinished.
        n_envs: Number of environments.
        n_steps: Tokens of each.
    """
    match unfinished:
        case "bootstrap":
            return Steps(n_envs, n_steps)
        case "drain":
            return Drain(n_envs, n_steps)
        case "carry" | "carry_recompute":
            return StepsThatCarry(n_envs, n_steps)
