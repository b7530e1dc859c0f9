"""Language models to sample from, on the device that a user names."""

from __future__ import annotations

from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.text_model import Precision, TextModel
from textgym.types import Task


def load_model(name: str, device: str, precision: Precision = "fp32") -> TextModel:
    """Load a language model onto a device."""
    return load_language_model(name, precision=precision, device=pick_device(device))


def require_context(model: TextModel, task: Task) -> None:
    """Check that a model can read prompt and response of a task at once.

    Raises:
        ModelError: Its context is shorter than the task's budgets.
    """
    later = (task.max_turns - 1) * (task.max_reply_tokens + task.max_new_tokens)
    model.require_context(task.max_prompt_tokens + task.max_new_tokens + later)
