"""The task of writing a function that passes hidden tests, and its corpus of small functions."""

from textgym.tasks.coding.task import Coding

__all__ = ["Coding"]
