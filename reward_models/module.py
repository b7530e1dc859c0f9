"""The common parts of all rewards that are networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from torch import nn

from textgym.errors import RewardError
from textgym.types import Example, FloatArray, Shown


class RewardModule(nn.Module):
    """A network that scores responses (a :class:`~textgym.types.RewardFn`).

    It is always in evaluation mode: a reward has no dropout.

    Attributes:
        name: Name in messages and logs.
        remedy: Advice in the error about scores that are not finite.
    """

    name: str
    remedy = "check its weights"

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever is asked."""
        return super().train(False)

    def forward(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example] = ()
    ) -> FloatArray:
        """Scores of ``n`` responses; no gradients.

        Args:
            prompts: ``n`` formatted, uncut prompt texts, or conversations.
            responses: ``n`` texts.
            examples: Not used.

        Returns:
            Scores, shape ``(n,)``, float64.

        Raises:
            ValueError: If the lengths differ.
            RewardError: If a score is not finite.
        """
        return self.scores_of(prompts, responses)

    @abstractmethod
    def scores_of(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Return the scores of the responses, shape (n,), as :meth:`forward` computes them."""

    def _checked(self, scores: FloatArray, responses: Sequence[str]) -> FloatArray:
        """Return the scores, all finite."""
        if not np.isfinite(scores).all():
            worst = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise RewardError(
                f"expected finite scores from the reward {self.name!r}, got {scores[worst]} for the response "
                f"{responses[worst][:80]!r}; {self.remedy}"
            )
        return scores
