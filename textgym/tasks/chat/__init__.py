"""Conversations with a simulated user who has a goal: the task, and the users it brings along."""

from textgym.tasks.chat.task import Chat

__all__ = ["Chat"]
