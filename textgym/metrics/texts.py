"""Measures of texts that need no references: length, variety, repetition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textgym.metrics.words import count_words, words_of
from textgym.types import Episode, FloatArray, Metric, RewardFn


def word_count(episodes: Sequence[Episode]) -> FloatArray:
    """Return how many words each text has, as :func:`~textgym.metrics.words.count_words` counts; shape ``(n,)``."""
    return np.array([count_words(episode.text) for episode in episodes], dtype=np.float64)


def distinct_2(episodes: Sequence[Episode]) -> FloatArray:
    """Return the share of different pairs among the pairs of neighbouring words of each text.

    Returns:
        Shape ``(n,)``, in ``(0, 1]``; NaN for texts of fewer than two words.

    References:
        Li et al., "A diversity-promoting objective function for neural conversation models" (2016), for one text.
    """
    return np.array([_distinct(episode.text, 2) for episode in episodes], dtype=np.float64)


def repetition_4(episodes: Sequence[Episode]) -> FloatArray:
    """Return the share of runs of four words of each text that have occurred in it before.

    Returns:
        Shape ``(n,)``, in ``[0, 1)``; NaN for texts of fewer than four words.

    References:
        Welleck et al., "Neural text generation with unlikelihood training" (2020), seq-rep-4.
    """
    return np.array([1 - _distinct(episode.text, 4) for episode in episodes], dtype=np.float64)


def corpus_distinct(texts: Sequence[str], n: int = 2) -> float:
    """Return distinct-n of all texts together: the share of different runs of ``n`` words among all their runs.

    It falls as texts are added, so that only sets of about the same number of words can be compared.

    Returns:
        In ``(0, 1]``; NaN where no text has ``n`` words.

    Raises:
        ValueError: ``n`` is below 1.

    References:
        Li et al., "A diversity-promoting objective function for neural conversation models" (2016).
    """
    if n < 1:
        raise ValueError(f"expected runs of at least 1 word, got n={n}")
    grams = [gram for text in texts for gram in _runs(text, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


TEXT_METRICS: Mapping[str, Metric] = {"words": word_count, "distinct_2": distinct_2, "repetition_4": repetition_4}
"""What can be measured on any text."""


@dataclass(frozen=True)
class ReferenceMetric:
    """A reward that compares with references, as a metric: NaN for examples that have none.

    Attributes:
        reward: Scores a text, in the light of its example alone; the prompts it gets are empty.
    """

    reward: RewardFn

    def __call__(self, episodes: Sequence[Episode]) -> FloatArray:
        """Measure ``n`` episodes; shape ``(n,)``."""
        values = np.full(len(episodes), math.nan)
        rows = [row for row, episode in enumerate(episodes) if episode.example.references]
        if rows:
            known = [episodes[row] for row in rows]
            values[rows] = self.reward(
                [""] * len(rows), [each.text for each in known], [each.example for each in known]
            )
        return values


def _distinct(text: str, n: int) -> float:
    """Return the share of different runs of ``n`` words; NaN where there is none."""
    grams = _runs(text, n)
    return len(set(grams)) / len(grams) if grams else math.nan


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    words = words_of(text)
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
