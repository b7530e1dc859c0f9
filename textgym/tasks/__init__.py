"""What is asked, about which texts, evaluated how: one file or folder per task."""

from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.summarization import Summarization

__all__ = ["Summarization", "TextTask", "prompt_of", "prompt_text", "shown_of"]
