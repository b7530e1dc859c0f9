"""What all tasks share: the data, the prompt formatter, the way to another split."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Self

from textgym.data import load_examples
from textgym.types import Dataset, Example, FloatArray, NameOrPath, RewardFn, Split

_SLOT = "{prompt}"


class TextTask:
    """Base of tasks whose examples come from :func:`textgym.data.load_examples`.

    A subclass sets ``name`` and may override the other class attributes, :meth:`gold` and :meth:`is_success`.

    Args:
        data: Name, file, folder or Hub id of the data.
        prompt_column: Column of the prompts; ``None`` guesses.
        reference_column: Column of the references; ``None`` guesses.
        split: Which examples.

    Attributes:
        dataset: The examples.
        prompt_template: Text around every prompt; ``{prompt}`` stands for it.
        max_prompt_tokens, max_new_tokens: Default budgets of the environments.
        default_reward: Name of the reward of an environment that is given none.
        default_reward_reason: Why it is that one, as a sentence for people.
        metrics: Name -> measure to report beside the reward.
    """

    name: str = "text"
    prompt_template: str = _SLOT
    max_prompt_tokens: int = 512
    max_new_tokens: int = 48
    default_reward: str = "rouge"
    default_reward_reason: str = "The default reward is ROUGE-L against the references."
    metrics: Mapping[str, RewardFn] = {}

    def __init__(
        self,
        data: NameOrPath = "reports",
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
    ) -> None:
        self.dataset: Dataset = load_examples(data, split, prompt_column, reference_column)
        self.data = os.fspath(data)
        self.prompt_column = prompt_column
        self.reference_column = reference_column

    def for_split(self, split: Split) -> Self:
        """The same task on another split of the same data."""
        return type(self)(self.data, self.prompt_column, self.reference_column, split)

    def format_prompt(self, example: Example) -> str:
        """The full prompt text: plain replacement, so braces in a user's text stay what they are."""
        return self.prompt_template.replace(_SLOT, example.prompt)

    def gold(self, responses: Sequence[str], examples: Sequence[Example]) -> FloatArray | None:
        """True quality of ``n`` responses, shape ``(n,)``; ``None`` where the data does not know it."""
        return None

    def is_success(self, response: str, example: Example) -> bool:
        """Is the response, spaces around it aside, one of the references?"""
        return response.strip() in {reference.strip() for reference in example.references}
