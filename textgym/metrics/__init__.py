"""Measures of text against references, and intervals that say how sure a mean is."""

from textgym.metrics.intervals import (
    clustered_proportion_interval,
    mean_interval,
    paired_difference_interval,
    proportion_interval,
)
from textgym.metrics.rouge import rouge1, rouge2, rougeL
from textgym.metrics.words import count_words, words_of

__all__ = [
    "clustered_proportion_interval",
    "count_words",
    "mean_interval",
    "paired_difference_interval",
    "proportion_interval",
    "rouge1",
    "rouge2",
    "rougeL",
    "words_of",
]
