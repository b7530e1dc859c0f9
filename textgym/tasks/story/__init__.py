"""The task of writing with given words, with its built-in requests."""

from textgym.tasks.story.task import Story

__all__ = ["Story"]
