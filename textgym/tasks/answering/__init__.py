"""Answering questions about a passage: the task, and the passages it brings along."""

from textgym.tasks.answering.task import Answering

__all__ = ["Answering"]
