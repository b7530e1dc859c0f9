"""ChrF against references, by the ``sacrebleu`` package: of each text, and of a whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from textgym.metrics.bleu import reference_streams
from textgym.metrics.references import import_extra, score_each
from textgym.types import Example, FloatArray


def chrf(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, word_order: int = 0
) -> FloatArray:
    """Character n-gram F2 of each response against the best reference of its example.

    Runs of one to six characters are compared, white space left out, so that inflected forms and scripts without spaces
    between words need no special care.

    Args:
        prompts: ``n`` prompt texts; not looked at.
        responses: ``n`` texts to score.
        examples: The ``n`` examples whose references they are scored by.
        word_order: Longest runs of words that count too; 2 is chrF++.

    Returns:
        ChrF in ``[0, 1]``, shape ``(n,)``; higher is better.

    Raises:
        DataError: If an example has no references.
        MissingExtraError: Without sacrebleu.

    References:
        Popović, "chrF: character n-gram F-score for automatic MT evaluation" (2015), "chrF++: words helping character
        n-grams" (2017).
    """
    scorer = _scorer(word_order)

    def measure(response: str, references: Sequence[str]) -> float:
        return float(scorer.sentence_score(response, references).score) / 100

    return score_each(measure, "chrF", responses, examples)


def corpus_chrf(responses: Sequence[str], examples: Sequence[Example], *, word_order: int = 0) -> float:
    """Return chrF of all responses as one corpus, in ``[0, 100]``; arguments and errors as of :func:`chrf`."""
    return float(_scorer(word_order).corpus_score(list(responses), reference_streams(examples, "chrF")).score)


@cache
def _scorer(word_order: int) -> Any:
    return import_extra("sacrebleu.metrics", "chrF", "sacrebleu", "metrics").CHRF(word_order=word_order)
