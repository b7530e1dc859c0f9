"""Tasks: prompts, texts and their evaluation, one file or folder each."""

from textgym.tasks.answering import Answering
from textgym.tasks.base import TextTask, prompt_of, prompt_text, shown_of
from textgym.tasks.chat import Chat
from textgym.tasks.coding import Coding
from textgym.tasks.continuation import Continuation
from textgym.tasks.generation import Generation
from textgym.tasks.recommendation import Recommendation
from textgym.tasks.report import Report
from textgym.tasks.spelling import Spelling
from textgym.tasks.story import Story
from textgym.tasks.summarization import Summarization
from textgym.tasks.translate import Translate

__all__ = [
    "Answering",
    "Chat",
    "Coding",
    "Continuation",
    "Generation",
    "Recommendation",
    "Report",
    "Spelling",
    "Story",
    "Summarization",
    "TextTask",
    "Translate",
    "prompt_of",
    "prompt_text",
    "shown_of",
]
