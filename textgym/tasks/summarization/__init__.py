"""Summarising documents: the task, and the reports it brings along."""

from textgym.tasks.summarization.task import InstructedSummarization, Summarization

__all__ = ["InstructedSummarization", "Summarization"]
