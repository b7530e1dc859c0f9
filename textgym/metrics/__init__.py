"""Measures of text against references, and intervals that say how sure a mean is."""

from textgym.metrics.intervals import mean_interval, paired_difference_interval, proportion_interval
from textgym.metrics.rouge import rouge1, rouge2, rougeL

__all__ = ["mean_interval", "paired_difference_interval", "proportion_interval", "rouge1", "rouge2", "rougeL"]
