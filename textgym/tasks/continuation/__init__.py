"""The task of continuing a review, with its built-in reviews."""

from textgym.tasks.continuation.task import Continuation

__all__ = ["Continuation"]
