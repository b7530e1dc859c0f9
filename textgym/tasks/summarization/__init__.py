"""Summarising documents: the task, and the reports it brings along."""

from textgym.tasks.summarization.task import Summarization

__all__ = ["Summarization"]
