"""Language models to sample from, on the device that a user names."""

from __future__ import annotations

from textgym.envs.choice import with_budgets
from textgym.envs.token_core import context_tokens
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.text_model import Precision, TextModel
from textgym.types import Task


def load_model(name: str, device: str, precision: Precision = "fp32") -> TextModel:
    """Load a language model onto a device."""
    return load_language_model(name, precision=precision, device=pick_device(device))


def require_context(
    model: TextModel, task: Task, max_prompt_tokens: int | None = None, max_new_tokens: int | None = None
) -> None:
    """Check that a model can read an episode of a task at once: prompt, response, and whatever is said later.

    Args:
        model: Language model that reads the texts.
        task: Task that limits number and length of turns.
        max_prompt_tokens, max_new_tokens: Budgets; those that are ``None`` are the task's.

    Raises:
        ModelError: Its context is shorter.
    """
    task = with_budgets(task, max_prompt_tokens, max_new_tokens)
    turns = context_tokens(task, 0, task.max_new_tokens)
    model.require_context(task.max_prompt_tokens + turns, turns=turns, response=task.max_new_tokens)
