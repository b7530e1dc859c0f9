"""Tasks: prompts, texts and their evaluation, one file or folder each."""

from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.coding import Coding
from textgym.tasks.generation import Generation
from textgym.tasks.summarization import Summarization

__all__ = ["Coding", "Generation", "Summarization", "TextTask", "prompt_of", "prompt_text", "shown_of"]
