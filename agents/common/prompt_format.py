"""The way an environment asks the language model of an agent, for the files that are written beside the model."""

from __future__ import annotations

from typing import Any

from textgym.agents.common.vec_env import env_attribute
from textgym.envs.choice import with_budgets
from textgym.models.prompt_format import PromptFormat, prompt_format
from textgym.text.tokenizer import Tokenizer
from textgym.values import attribute_of


def format_in(
    env: Any, tokenizer: Tokenizer, *, env_id: str | None = None, temperature: float = 1.0
) -> PromptFormat | None:
    """Return how an environment asks a model; ``None`` if it is no text environment.

    Args:
        env: An environment, single or vector, in whatever wrappers.
        tokenizer: The model's.
        env_id: Its id, with the module that registers it, where that is known; ``None`` is the id alone.
        temperature: Temperature that the model acts at.
    """
    task = _attribute(env, "task")
    if task is None:
        return None
    asking = with_budgets(task, _attribute(env, "max_prompt_tokens"), _attribute(env, "max_new_tokens"))
    if env_id is None:
        env_id = attribute_of(_attribute(env, "spec"), "id")
    return prompt_format(asking, tokenizer, env_id=env_id, stop=_attribute(env, "stop") or (), temperature=temperature)


def _attribute(env: Any, name: str) -> Any:
    """Return an attribute of an environment; ``None`` if it has none of that name."""
    try:
        return env_attribute(env, name)
    except AttributeError:
        return None
