"""Pairs of responses as questions."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.feedback.types import Question
from textgym.types import Shown


def make_questions(
    prompts: Sequence[Shown], keys: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
) -> list[Question]:
    """Put ``n`` pairs of responses before an annotator.

    Args:
        prompts: ``n`` formatted prompt texts, or conversations.
        keys: The ``n`` keys of their examples.
        responses_a: ``n`` texts.
        responses_b: ``n`` texts to compare them with.

    Returns:
        ``n`` questions in the given order.

    Raises:
        ValueError: If the lengths differ.
    """
    lengths = (len(prompts), len(keys), len(responses_a), len(responses_b))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"expected as many prompts as keys and responses, got {lengths[0]} prompts, {lengths[1]} keys, "
            f"{lengths[2]} and {lengths[3]} responses; give one of each per question"
        )
    return [
        Question(key, prompt, (a, b)) for key, prompt, a, b in zip(keys, prompts, responses_a, responses_b, strict=True)
    ]
