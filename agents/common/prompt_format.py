"""The way an environment asks the language model of an agent, for the files that are written beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textgym.agents.common.vec_env import env_attribute
from textgym.envs.choice import with_budgets
from textgym.models.card import CARD, write_card
from textgym.models.prompt_format import PromptFormat, prompt_format, write_format
from textgym.models.text_model import TextModel
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


def write_model_folder(model: TextModel, folder: str | Path, env: Any = None, temperature: float = 1.0) -> None:
    """Write the language model of a policy as a Hugging Face folder, with a model card unless there is one.

    Args:
        model: The model.
        folder: The folder.
        env: Environment that it acted in, if it is to be written how that asks it.
        temperature: Temperature that it acted at.
    """
    model.save_pretrained(folder)
    asked = None if env is None else format_in(env, model.tokenizer, temperature=temperature)
    if asked is not None:
        write_format(Path(folder), asked)
    if not (Path(folder) / CARD).exists():
        write_card(
            Path(folder),
            method="reinforcement learning with textgym, as a Stable-Baselines3 policy",
            start_model=model.source or f"a {type(model.network).__name__}, given as a module",
            facts=[("Temperature it acted at", str(temperature))],
        )


def _attribute(env: Any, name: str) -> Any:
    """Return an attribute of an environment; ``None`` if it has none of that name."""
    try:
        return env_attribute(env, name)
    except AttributeError:
        return None
