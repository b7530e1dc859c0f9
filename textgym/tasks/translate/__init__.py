"""Translating between English and German: the task, and the sentences it brings along."""

from textgym.tasks.translate.task import Translate

__all__ = ["Translate"]
