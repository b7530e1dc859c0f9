"""Measures of short answers: exact match and F1 as SQuAD computes them, and abstention."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from textgym.types import Episode, Example, FloatArray

UNANSWERABLE = "unanswerable"
"""What is written where there is no answer."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return an answer as it is compared: in lower case, without ASCII punctuation, articles and extra white space.

    >>> normalize_answer("The  cat's (old) Hat.")
    'cats old hat'

    References:
        Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text" (2016).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def answer_matches(text: str, answer: str) -> float:
    """Return 1 where a text is an answer, compared by :func:`normalize_answer`, else 0."""
    return float(normalize_answer(text) == normalize_answer(answer))


def answer_f1(text: str, answer: str) -> float:
    """Return the F1 of the words that a text shares with an answer, each counted as often as it occurs.

    Where either is no word, it is 1 if both are.

    >>> answer_f1("in the old town of Brill", "the town of Brill")
    0.75
    """
    written, wanted = normalize_answer(text).split(), normalize_answer(answer).split()
    if not (written and wanted):
        return float(written == wanted)
    common = (Counter(written) & Counter(wanted)).total()
    return 2 * common / (len(written) + len(wanted))


def is_abstention(text: str) -> bool:
    """Return whether a text says that there is no answer: the word ``unanswerable`` and nothing else.

    >>> is_abstention("Unanswerable."), is_abstention("")
    (True, False)
    """
    return normalize_answer(text) == UNANSWERABLE


def is_unanswerable(example: Example) -> bool:
    """Return whether no reference of an example is an answer, and one says so."""
    return bool(example.references) and all(map(is_abstention, example.references))


def exact_match(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return 1 for texts that are one of their references, else 0, shape ``(n,)``; 0 without references.

    An abstention is right where the reference is one.
    """
    return _best(answer_matches, responses, examples)


def f1(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return the F1 of the words of each text against the best of its references, shape ``(n,)``; 0 without any.

    An abstention is right where the reference is one, and shares nothing with an answer.
    """
    return _best(answer_f1, responses, examples)


def abstention_precision(episodes: Sequence[Episode]) -> FloatArray:
    """Return 1 for abstentions from what has no answer, 0 for other abstentions, NaN for answers; shape ``(n,)``.

    Its mean is the precision of abstaining.
    """
    return np.array(
        [float(is_unanswerable(each.example)) if is_abstention(each.text) else math.nan for each in episodes],
        dtype=np.float64,
    )


def abstention_recall(episodes: Sequence[Episode]) -> FloatArray:
    """Return 1 for abstentions from what has no answer, 0 for answers to it, NaN for other questions; shape ``(n,)``.

    Its mean is the recall of abstaining.
    """
    return np.array(
        [float(is_abstention(each.text)) if is_unanswerable(each.example) else math.nan for each in episodes],
        dtype=np.float64,
    )


def _best(measure: Callable[[str, str], float], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return the best value of a measure over the references of each example."""
    return np.array(
        [
            max((measure(text, reference) for reference in example.references), default=0.0)
            for text, example in zip(responses, examples, strict=True)
        ],
        dtype=np.float64,
    )
