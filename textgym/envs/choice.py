"""The choice of environment and data by a user: checked, and stored as plain data."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import gymnasium as gym

from textgym.checks import use_plain_values
from textgym.data.dataset import describe_split
from textgym.envs.arguments import (
    TaskSource,
    build_task,
    built_in_names,
    options_of,
    refuse_unknown,
    start_model_of,
)
from textgym.errors import TextGymError, did_you_mean
from textgym.files.paths import absolute_if_exists
from textgym.registration import registered_ids
from textgym.security.consent import explain_missing, import_named_module, load_attribute, names_module
from textgym.types import Data, Grain, Split, Task
from textgym.values import attribute_of


class UnknownEnvError(TextGymError, ValueError):
    """No text environment is called so, or it is of the wrong grain."""


@dataclass(frozen=True, slots=True)
class EnvChoice:
    """The choice of a task and its data; plain data, stored with a run.

    Attributes:
        env_id: A registered id of either grain, or ``"module:Id-v0"``, where importing the module registers it.
        data: Built-in corpus, file, folder or Hub id; ``None`` is the task's default.
        prompt_column, reference_column: Columns of the data; ``None`` guesses.
        prompt_template: Text around every prompt; ``None`` is the task's own.
        task_options: Choices among the options of the task, such as ``{"difficulty": "hard"}``.
    """

    env_id: str = "TextSumm-v0"
    data: str | None = None
    prompt_column: str | None = None
    reference_column: str | None = None
    prompt_template: str | None = None
    task_options: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        use_plain_values(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> EnvChoice:
        """Read what ``dataclasses.asdict`` wrote, among other things."""
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})

    def make(self, split: Split, data: Data | None = None) -> Task:
        """Make the task on one split, of other data if they are given, which may be a list.

        Raises:
            UnknownEnvError: There is no such id.
            DataError: The data cannot be read.
        """
        columns = (self.prompt_column, self.reference_column)
        source = self._source()
        refuse_unknown(self.task_options, options_of(source), "an option of this environment")
        return build_task(
            source, self.data if data is None else data, *columns, split, self.prompt_template, self.task_options
        )

    def start_model(self) -> str:
        """Return the name of the shipped model that is started from, without reading any data."""
        return start_model_of(self._source())

    def own_templates(self) -> tuple[str | None, str | None]:
        """Return the templates of the task itself, for plain text and for chat models, without reading any data."""
        plain = attribute_of(self._source_class(), "prompt_template")
        chat = attribute_of(self._source_class(), "chat_prompt_template")
        return plain, plain if chat is None else chat

    def _source_class(self) -> object:
        source = self._source()
        return load_attribute(source) if isinstance(source, str) else source

    def _source(self) -> TaskSource:
        """Return what the environment makes its task of."""
        source: TaskSource = gym.registry[check_env_id(self.env_id)].kwargs["task"]
        return source

    def located(self) -> EnvChoice:
        """Return the same choice with an absolute path for data that is a file or folder."""
        if self.data is None or self.data in built_in_names(self._source()):
            return self
        return replace(self, data=absolute_if_exists(self.data))

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments of ``gym.make`` that say which data it is."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("env_id", "task_options")}
        return {**kept, **self.task_options}


def use_start_model(settings: object) -> None:
    """Make the start model of the task that of frozen settings with a ``choice`` whose ``model`` is empty."""
    choice, model = attribute_of(settings, "choice"), attribute_of(settings, "model")
    if isinstance(choice, EnvChoice) and model == "":
        object.__setattr__(settings, "model", choice.start_model())


def check_env_id(env_id: str) -> str:
    """Return the id as Gymnasium's registry has it.

    Raises:
        UnknownEnvError: There is no such id.
    """
    module, colon, name = env_id.partition(":")
    if colon:
        _import(module, env_id)
    name = name or env_id
    known = registered_ids()
    if name not in known:
        raise UnknownEnvError(
            f"expected the id of a text environment, got {env_id!r}.{did_you_mean(name, known)} "
            "`textgym envs` lists them; one of your own is 'module:Id-v0', where importing the module registers it."
        )
    return name


def token_level_id(env_id: str) -> str:
    """Return a token-level id, which is what an agent is trained on.

    Raises:
        UnknownEnvError: It is not one.
    """
    name = check_env_id(env_id)
    if is_episode_level(name):
        raise UnknownEnvError(
            f"expected a token-level environment, got {name!r}, where an action is a whole text; "
            f"use {name.replace('Episode-v', '-v')!r}"
        )
    return name


def id_of_grain(env_id: str, grain: Grain) -> str:
    """Return the id of the environment of a grain that has the same task as another one.

    Raises:
        UnknownEnvError: There is none.
    """
    name = check_env_id(env_id)
    if is_episode_level(name) == (grain == "episode"):
        return name
    return check_env_id(name.replace("Episode-v", "-v") if grain == "token" else name.replace("-v", "Episode-v"))


def is_episode_level(env_id: str) -> bool:
    """Say whether an action of this environment is a whole text."""
    return str(gym.registry[env_id].entry_point).endswith(":EpisodeTextEnv")


def _import(module: str, env_id: str) -> None:
    if not names_module(env_id):
        raise UnknownEnvError(f"expected 'module:Id-v0', got {env_id!r}; name a module and an id")
    try:
        import_named_module(env_id, "env_id")
    except ModuleNotFoundError as error:
        if missing := explain_missing(module, error):
            raise UnknownEnvError(f"expected 'module:Id-v0', got {env_id!r}: {missing}") from error
        raise


def with_budgets(task: Task, max_prompt_tokens: int | None, max_new_tokens: int | None) -> Task:
    """Return a copy of a task with other budgets; ``None`` keeps its own."""
    if max_prompt_tokens is None and max_new_tokens is None:
        return task
    task = copy.copy(task)
    task.max_prompt_tokens = task.max_prompt_tokens if max_prompt_tokens is None else max_prompt_tokens
    task.max_new_tokens = task.max_new_tokens if max_new_tokens is None else max_new_tokens
    return task


def as_typed(choice: EnvChoice) -> str:
    """Return the arguments with which ``textgym train`` takes a choice, on the token level.

    >>> as_typed(EnvChoice(task_options={"difficulty": "hard"}))
    'TextSumm-v0 --task-option difficulty=hard'
    >>> as_typed(EnvChoice("TextSummEpisode-v0", "my reports.csv", reference_column="summary"))
    "TextSumm-v0 --data 'my reports.csv' --reference-column summary"
    """
    kept = {**choice.env_kwargs(), **dict.fromkeys(choice.task_options)}
    options = [(f"--{name.replace('_', '-')}", value) for name, value in kept.items() if value is not None]
    options += [("--task-option", f"{name}={value}") for name, value in choice.task_options.items()]
    words = [choice.env_id.replace("Episode-v", "-v"), *(word for option in options for word in option)]
    return shlex.join(words)


def describe_data(task: Task) -> str:
    """Return what the examples are, for the first line of a run."""
    return f"{task.dataset.name} ({describe_split(task.dataset)})"
