"""Tasks: prompts, texts and their evaluation, one file or folder each."""

from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.generation import Generation
from textgym.tasks.report import Report
from textgym.tasks.summarization import Summarization
from textgym.tasks.translate import Translate

__all__ = ["Generation", "Report", "Summarization", "TextTask", "Translate", "prompt_of", "prompt_text", "shown_of"]
