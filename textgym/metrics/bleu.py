"""BLEU against references, by the ``sacrebleu`` package: of each text, and of a whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from typing import Any

from textgym.metrics.references import import_extra, references_of, score_each
from textgym.types import Example, FloatArray


def bleu(
    prompts: Sequence[str],
    responses: Sequence[str],
    examples: Sequence[Example],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> FloatArray:
    """BLEU-4 of each response against all references of its example.

    It is smoothed (each n-gram length without a match counts half of what the one before did), and texts of fewer than
    four words are measured by the lengths they have.

    Args:
        prompts: ``n`` prompt texts; not looked at.
        responses: ``n`` texts to score.
        examples: The ``n`` examples whose references they are scored by.
        tokenize: How sacrebleu splits words: ``"13a"``, ``"intl"``, ``"char"``, ``"zh"``, ``"none"`` and others; use
            ``"zh"`` or ``"char"`` for scripts without spaces between words.
        lowercase: Whether case does not count.

    Returns:
        BLEU in ``[0, 1]``, shape ``(n,)``; higher is better.

    Raises:
        DataError: If an example has no references.
        MissingExtraError: Without sacrebleu.

    References:
        Papineni et al., "BLEU: a method for automatic evaluation of machine translation" (2002). Post, "A call for
        clarity in reporting BLEU scores" (2018). Smoothing: Chen and Cherry (2014), method 3.
    """
    scorer = _scorer(tokenize, lowercase, True)

    def measure(response: str, references: Sequence[str]) -> float:
        return float(scorer.sentence_score(response, references).score) / 100

    return score_each(measure, "BLEU", responses, examples)


def corpus_bleu(
    responses: Sequence[str], examples: Sequence[Example], *, tokenize: str = "13a", lowercase: bool = False
) -> float:
    """Return BLEU-4 of all responses as one corpus, in ``[0, 100]``: the number that papers report.

    Arguments and errors as of :func:`bleu`. It is no mean of the texts' BLEU: n-grams are counted over all texts.
    """
    scorer = _scorer(tokenize, lowercase, False)
    return float(scorer.corpus_score(list(responses), reference_streams(examples, "BLEU")).score)


def reference_streams(examples: Sequence[Example], measure: str) -> list[tuple[str | None, ...]]:
    """Return first references, second references and so on; ``None`` where an example has fewer than others."""
    return list(zip_longest(*(references_of(example, measure) for example in examples)))


@cache
def _scorer(tokenize: str, lowercase: bool, of_texts: bool) -> Any:
    metrics = import_extra("sacrebleu.metrics", "BLEU", "sacrebleu", "metrics")
    return metrics.BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=of_texts)
