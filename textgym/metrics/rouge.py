"""ROUGE F1 against references, as rewards: :func:`rouge1`, :func:`rouge2`, :func:`rougeL`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from textgym.data.columns import name_references
from textgym.errors import DataError
from textgym.metrics.words import words_of
from textgym.types import Example, FloatArray

_ROUNDING = 1e-9


def rouge1(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Overlap of single words between each response and its references.

    Args:
        prompts: ``n`` prompt texts; not looked at.
        responses: ``n`` texts to score.
        examples: The ``n`` examples whose references they are scored by.

    Returns:
        F1 in ``[0, 1]``, shape ``(n,)``: the best over an example's references. Words are those of
        :func:`~textgym.metrics.words.words_of`, stemmed (by English rules, which leave other scripts alone).

    Raises:
        DataError: If an example has no references.

    References:
        Lin, "ROUGE: A package for automatic evaluation of summaries" (2004), by the ``rouge-score`` package.
        That package drops letters outside a-z; here texts that have such letters are split into words of any script
        (Chinese, Japanese, Thai and the like into characters), and the scores of ASCII texts are exactly the package's.
    """
    return _score("rouge1", responses, examples)


def rouge2(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Overlap of word pairs; arguments, return value and errors as in :func:`rouge1`."""
    return _score("rouge2", responses, examples)


def rougeL(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:  # noqa: N802 - the measure's own name
    """Longest common subsequence of words; arguments, return value and errors as in :func:`rouge1`."""
    return _score("rougeL", responses, examples)


def reaches_rougeL(response: str, example: Example, threshold: float) -> bool:  # noqa: N802
    """Return whether :func:`rougeL` of a response is at least ``threshold``; cheap where lengths alone say no.

    A common subsequence is at most as long as the shorter text, so F1 <= 2 min(m, n) / (m + n).
    """
    m = len(words_of(response))
    lengths = [len(words_of(reference)) for reference in example.references]
    if all(2 * min(m, n) < (threshold - _ROUNDING) * (m + n) for n in lengths):
        return False
    return bool(rougeL([""], [response], [example])[0] >= threshold)


def _score(kind: str, responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    pairs = zip(responses, examples, strict=True)
    return np.fromiter((_best(kind, response, example) for response, example in pairs), np.float64, len(responses))


def _best(kind: str, response: str, example: Example) -> float:
    if not example.references:
        raise DataError(
            f"expected at least one reference for the example {example.key!r}, got none: ROUGE compares with "
            f"references; {name_references([example])}, or choose a reward that needs none"
        )
    scorer = _scorer(kind)
    return max(float(scorer.score(reference, response)[kind].fmeasure) for reference in example.references)


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # lazy: it loads nltk

    return RougeScorer([kind], tokenizer=_words())


@cache
def _words() -> _Words:
    return _Words()


class _Words:
    """Stemmed words, of ASCII texts those of ``rouge-score``; remembers words and texts, as both recur.

    The package's base class for tokenizers asks for nothing but this method, and importing it loads nltk.
    """

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

        self._stem = lru_cache(maxsize=2**16)(PorterStemmer().stem)
        self.tokenize = lru_cache(maxsize=4096)(self._split)

    def _split(self, text: str) -> list[str]:
        return [self._stem(word) if len(word) > 3 else word for word in words_of(text)]
