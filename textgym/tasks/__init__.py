"""Tasks: prompts, texts and their evaluation, one file or folder each."""

from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.continuation import Continuation
from textgym.tasks.generation import Generation
from textgym.tasks.story import Story
from textgym.tasks.summarization import Summarization

__all__ = ["Continuation", "Generation", "Story", "Summarization", "TextTask", "prompt_of", "prompt_text", "shown_of"]
