"""The translation edit rate, by the ``sacrebleu`` package: of each text, and of a whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from textgym.metrics.bleu import reference_streams
from textgym.metrics.references import import_extra, score_each
from textgym.types import Example, FloatArray


def ter(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, case_sensitive: bool = False
) -> FloatArray:
    """Edits that make each response its nearest reference, per word of its references.

    An edit inserts, deletes or replaces a word, or moves a run of words. As a reward it needs a negative weight:
    ``"-1*ter"``.

    Args:
        prompts: ``n`` prompt texts; not looked at.
        responses: ``n`` texts to score.
        examples: The ``n`` examples whose references they are scored by.
        case_sensitive: Whether case counts.

    Returns:
        The rate, 0 or above, shape ``(n,)``; lower is better, and above 1 where more is wrong than there are words.

    Raises:
        DataError: If an example has no references.
        MissingExtraError: Without sacrebleu.

    References:
        Snover et al., "A study of translation edit rate with targeted human annotation" (2006).
    """
    scorer = _scorer(case_sensitive)

    def measure(response: str, references: Sequence[str]) -> float:
        return float(scorer.sentence_score(response, references).score) / 100

    return score_each(measure, "TER", responses, examples)


def corpus_ter(responses: Sequence[str], examples: Sequence[Example], *, case_sensitive: bool = False) -> float:
    """Return TER of all responses as one corpus, in percent; arguments and errors as of :func:`ter`."""
    return float(_scorer(case_sensitive).corpus_score(list(responses), reference_streams(examples, "TER")).score)


@cache
def _scorer(case_sensitive: bool) -> Any:
    return import_extra("sacrebleu.metrics", "TER", "sacrebleu", "metrics").TER(case_sensitive=case_sensitive)
