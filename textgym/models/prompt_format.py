"""The way a model was asked while it learned: ``textgym.json`` beside its weights, which commands follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from textgym.errors import CheckpointError
from textgym.files.paths import user_path
from textgym.hub import SHIPPED, resolve_folder
from textgym.models.probing.noise import random_states_kept
from textgym.models.stored_values import Check, listed, measured, optional, positive, text, truth
from textgym.security.foreign import read_object
from textgym.tasks.base import prompt_of, templates_of
from textgym.text.templates import parse_template
from textgym.text.tokenizer import Tokenizer
from textgym.types import Task
from textgym.versions import versions

FILE = "textgym.json"
_LARGEST = 2**20
_MOST_STOPS = 64
_LOOKED_AT = 64  # prompts that tell whether all have the same system message


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """The way a model is asked, and where its texts end.

    Attributes:
        task: Id of the environment that it learned in, or else the name of the task.
        prompt_template: Template of the prompts that models read as plain text, and that rewards and people are shown;
            ``None``: the task writes its prompts in another way.
        chat_prompt_template: Template of the user's turn, for models with a chat template.
        uses_chat_template: Whether the model's own chat template is put around the prompt.
        system: System message before every prompt; ``None`` where there is none, or not always the same.
        stop: Strings that end a text, and are no part of it.
        max_prompt_tokens: Budget of a prompt; the end of a longer document is cut.
        max_new_tokens: Budget of a text.
        temperature: Temperature that it acted at.
    """

    task: str
    prompt_template: str | None
    chat_prompt_template: str | None
    uses_chat_template: bool
    system: str | None = None
    stop: tuple[str, ...] = ()
    max_prompt_tokens: int
    max_new_tokens: int
    temperature: float = 1.0

    @property
    def template(self) -> str | None:
        """The template that this model's prompts are made by."""
        return self.chat_prompt_template if self.uses_chat_template else self.prompt_template


_CHECKS: Mapping[str, Check] = {
    "task": text,
    "prompt_template": optional(text),
    "chat_prompt_template": optional(text),
    "uses_chat_template": truth,
    "system": optional(text),
    "stop": listed(lambda value: text(value) and value != ""),
    "max_prompt_tokens": positive,
    "max_new_tokens": positive,
    "temperature": lambda value: measured(value) and 0 < float(str(value)) < 1e6,
}


def prompt_format(
    task: Task,
    tokenizer: Tokenizer,
    *,
    env_id: str | None = None,
    stop: Sequence[str] = (),
    temperature: float = 1.0,
) -> PromptFormat:
    """Return how a task, with its budgets, asks the model of a tokenizer.

    Args:
        task: Task that the model learned.
        tokenizer: The model's.
        env_id: Id of the environment; ``None`` is the task's name.
        stop: Strings that end a text.
        temperature: Temperature that the model acts at.
    """
    templates = templates_of(task)
    return PromptFormat(
        task=env_id or task.name,
        prompt_template=None if templates is None else templates.plain,
        chat_prompt_template=None if templates is None else templates.chat,
        uses_chat_template=tokenizer.has_chat_template,
        system=_system_of(task),
        stop=tuple(stop),
        max_prompt_tokens=task.max_prompt_tokens,
        max_new_tokens=task.max_new_tokens,
        temperature=temperature,
    )


def _system_of(task: Task) -> str | None:
    """Return the system message that the first prompts of a task begin with, if all have the same one."""
    with random_states_kept():  # a task of the user's may draw numbers
        asked = [prompt_of(task, task.dataset[place]) for place in range(min(_LOOKED_AT, len(task.dataset)))]
    opening = {prompt.earlier[0] if prompt.earlier else None for prompt in asked}
    first = opening.pop() if len(opening) == 1 else None
    return first.content if first is not None and first.role == "system" and text(first.content) else None


def write_format(folder: Path, asked: PromptFormat) -> None:
    """Write ``textgym.json`` beside the weights, with the versions of what made them."""
    content = {**asdict(asked), "versions": versions()}
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_format(folder: Path) -> PromptFormat | None:
    """Return what ``textgym.json`` in the folder of a model says; ``None`` if there is none.

    The file may be somebody else's: its values are checked, and nothing that it names is imported.

    Raises:
        CheckpointError: It is damaged, or says something that cannot be.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        record = read_object(file, _LARGEST)
        known = {field.name for field in fields(PromptFormat)}
        return _checked({name: value for name, value in record.items() if name in known})
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected how a model is asked in {str(file)!r}, got something else ({error}); fetch the model again, or "
            "remove the file to ask it by the task's own template"
        ) from error


def format_of_model(name: str) -> PromptFormat | None:
    """Return how a model says it is asked: one in a folder, in a run folder, or on the Hugging Face Hub.

    ``None`` too where there is no such model: whoever loads it says so.

    Raises:
        CheckpointError: Its ``textgym.json`` is damaged.
    """
    if name in SHIPPED:
        return None
    folder = user_path(name)
    if folder.is_dir():
        return read_format(folder / "model" if (folder / "model").is_dir() else folder)
    fetched = _from_hub(name)
    return None if fetched is None else read_format(fetched)


@lru_cache(maxsize=8)
def _from_hub(name: str) -> Path | None:
    """Return where a model of the Hub lies; ``None`` if it cannot be fetched, which is asked for once."""
    try:
        return resolve_folder(name)
    except (CheckpointError, ImportError):
        return None


def _checked(record: Mapping[str, Any]) -> PromptFormat:
    """Return a format from JSON; ``ValueError`` if it is none."""
    record = {"system": None, **record}  # which earlier versions did not write
    missing = _CHECKS.keys() - record.keys()
    if missing:
        raise ValueError(f"nothing called {min(missing)!r}")
    for name, check in _CHECKS.items():
        if not check(record[name]):
            raise ValueError(f"{name}={repr(record[name])[:60]}")
    if len(record["stop"]) > _MOST_STOPS:
        raise ValueError(f"{len(record['stop']):,} stop strings")
    for name in ("prompt_template", "chat_prompt_template"):
        if record[name] is not None:
            parse_template(record[name])
    return PromptFormat(**{**record, "stop": tuple(record["stop"])})
