"""What is asked, about which texts, judged how: one file per task."""

from textgym.tasks.base import TextTask
from textgym.tasks.summarization import Summarization

__all__ = ["Summarization", "TextTask"]
