"""The texts that an offline agent learns from, counted: what comparisons at equal budgets ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textgym.agents.common.token_pairs import TokenPair


class CountsPairs:
    """An agent that learns from pairs, and says how many: an :class:`~textgym.agents.facts.Offline`.

    Attributes:
        pairs: Prompts with responses to learn from.
        batch_size: Most pairs of an optimizer step.
    """

    pairs: Sequence[TokenPair]
    batch_size: int

    @property
    def labels(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def tokens_per_step(self) -> float:
        """Return the mean number of tokens of the responses in a batch: those of all pairs over the steps of a pass."""
        steps = max(1, math.ceil(len(self.pairs) / self.batch_size))
        return sum(len(pair.response) for pair in self.pairs) / steps
