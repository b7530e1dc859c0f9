"""Recommendations from a catalogue to somebody whose ratings are known: the task, its corpus, its population."""

from textgym.tasks.recommendation.task import Recommendation

__all__ = ["Recommendation"]
