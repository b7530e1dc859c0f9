"""Summarising documents: the task, and the reports it brings along."""

from textgym.tasks.summarization.task import HurriedSummarization, Summarization

__all__ = ["HurriedSummarization", "Summarization"]
