"""The read-only attributes of token-level environments, and what can be computed from their state alone."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.envs.base import CoreAttributes
from textgym.envs.optimal import OptimalValues, optimal_values
from textgym.envs.token_core import TokenCore
from textgym.text.tokenizer import Tokenizer


class TokenAttributes(CoreAttributes):
    """Attributes of token-level environments that their core holds, besides those of all text environments."""

    _core: TokenCore

    @property
    def tokenizer(self) -> Tokenizer:
        """Return whose ids actions and observations are."""
        return self._core.tokenizer

    @property
    def max_prompt_tokens(self) -> int:
        """Largest number of prompt tokens."""
        return self._core.max_prompt_tokens

    @property
    def max_new_tokens(self) -> int:
        """Largest number of tokens of a turn of the agent."""
        return self._core.max_new_tokens

    @property
    def description(self) -> str:
        """Task, data, reward, model and budgets in one line."""
        budgets = f"{self.max_prompt_tokens:,} prompt + {self.max_new_tokens:,} new tokens"
        return f"{super().description}, tokens of {self.tokenizer.name}, {budgets}"

    def optimal_values(self, gamma: float = 1.0, keys: Sequence[str] | None = None) -> OptimalValues:
        """Return the optimal value of every state, by dynamic programming; for tasks of few tokens and short texts.

        A state is an example and what was written behind its prompt. Only tokens that the task allows
        (``action_masks``) are considered.

        Args:
            gamma: Discount of rewards, in [0, 1].
            keys: Keys of the examples; ``None`` is all of the split.

        Raises:
            ValueError: There are more texts than can be enumerated, or the task has several turns.
        """
        return optimal_values(self._core, gamma, keys)
