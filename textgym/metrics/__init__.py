"""Measures of text against references, and intervals that say how sure a mean is."""

from textgym.metrics.aggregates import (
    interquartile_mean,
    interquartile_mean_band,
    interquartile_mean_interval,
    probability_of_improvement,
)
from textgym.metrics.bertscore import BertScore
from textgym.metrics.bleu import bleu, corpus_bleu
from textgym.metrics.chrf import chrf, corpus_chrf
from textgym.metrics.intervals import (
    clustered_proportion_interval,
    mean_interval,
    paired_difference_interval,
    proportion_interval,
)
from textgym.metrics.meteor import Meteor
from textgym.metrics.ranking import click_through, ndcg, regret
from textgym.metrics.rouge import rouge1, rouge2, rougeL
from textgym.metrics.self_bleu import self_bleu
from textgym.metrics.significance import PairedTest, paired_test
from textgym.metrics.ter import corpus_ter, ter
from textgym.metrics.texts import corpus_distinct
from textgym.metrics.words import count_words, words_of

__all__ = [
    "BertScore",
    "Meteor",
    "PairedTest",
    "bleu",
    "chrf",
    "click_through",
    "clustered_proportion_interval",
    "corpus_bleu",
    "corpus_chrf",
    "corpus_distinct",
    "corpus_ter",
    "count_words",
    "interquartile_mean",
    "interquartile_mean_band",
    "interquartile_mean_interval",
    "mean_interval",
    "ndcg",
    "paired_difference_interval",
    "paired_test",
    "probability_of_improvement",
    "proportion_interval",
    "regret",
    "rouge1",
    "rouge2",
    "rougeL",
    "self_bleu",
    "ter",
    "words_of",
]
