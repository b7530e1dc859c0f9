"""Tasks: prompts, texts and their evaluation, one file or folder each."""

from textgym.tasks.answering import Answering
from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.generation import Generation
from textgym.tasks.spelling import Spelling
from textgym.tasks.summarization import Summarization

__all__ = ["Answering", "Generation", "Spelling", "Summarization", "TextTask", "prompt_of", "prompt_text", "shown_of"]
