"""What all commands begin with: the task, the model, and libraries that keep quiet."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from textgym import console
from textgym.envs.prompts import prompt_pieces
from textgym.envs.setup import build_task
from textgym.errors import TextGymError, did_you_mean
from textgym.models.device import pick_device
from textgym.models.language_model import LanguageModel, Precision, load_language_model
from textgym.registration import registered_ids
from textgym.tokenization import Tokenizer
from textgym.types import Example, Split, Task

_NOISY_LOGGERS = ("transformers", "datasets", "huggingface_hub", "matplotlib", "absl")


class UnknownEnvError(TextGymError, ValueError):
    """No text environment is called so, or it is of the wrong grain."""


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """Which task, on which data; plain data, stored with a run.

    Attributes:
        env_id: A registered id of either grain, or ``"module:Id-v0"``, where importing the module registers it.
        data: Built-in corpus, file, folder or Hub id; ``None`` is the task's default.
        prompt_column, reference_column: Columns of the data; ``None`` guesses.
    """

    env_id: str = "TextSumm-v0"
    data: str | None = None
    prompt_column: str | None = None
    reference_column: str | None = None

    def make(self, split: Split) -> Task:
        """Make the task on one split.

        Raises:
            UnknownEnvError: There is no such id.
            DataError: The data cannot be read.
        """
        source = gym.registry[check_env_id(self.env_id)].kwargs["task"]
        return build_task(source, self.data, self.prompt_column, self.reference_column, split)

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments of ``gym.make`` that say which data it is."""
        return {"data": self.data, "prompt_column": self.prompt_column, "reference_column": self.reference_column}


def check_env_id(env_id: str) -> str:
    """Return the id as Gymnasium's registry has it.

    Raises:
        UnknownEnvError: There is no such id.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        _import(module, env_id)
    known = registered_ids()
    if name not in known:
        raise UnknownEnvError(
            f"expected the id of a text environment, got {env_id!r}.{did_you_mean(name, known)} "
            "`textgym envs` lists them."
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


def is_episode_level(env_id: str) -> bool:
    """Say whether an action of this environment is a whole text."""
    return str(gym.registry[env_id].entry_point).endswith(":EpisodeTextEnv")


def _import(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UnknownEnvError(f"expected 'module:Id-v0', got {env_id!r}: there is no module {module!r}") from error


def load_model(name: str, device: str, precision: Precision = "fp32") -> LanguageModel:
    """Load a language model onto a device."""
    return load_language_model(name, precision=precision, device=pick_device(device))


def stable_name(model: str) -> str:
    """Return the name of a model in a form that still finds it from another working directory."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def encode_prompts(task: Task, examples: Sequence[Example], tokenizer: Tokenizer, budget: int) -> list[list[int]]:
    """Return the prompt ids of ``n`` examples as environments encode them, each of at most ``budget`` ids."""
    pieces = [prompt_pieces(task, example) for example in examples]
    return [tokenizer.encode_prompt(before, body, after, budget).ids for before, body, after in pieces]


def describe_data(task: Task) -> str:
    """Return what the examples are, for the first line of a run."""
    return f"{task.dataset.name} ({task.dataset.split}: {len(task.dataset):,} examples)"


def quiet_libraries() -> None:
    """Send warnings and remarks through the console, each once, and silence the chatter of libraries."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    logger = logging.getLogger("textgym")
    if not any(isinstance(handler, _RemarkHandler) for handler in logger.handlers):
        logger.addHandler(_RemarkHandler())
        logger.propagate = False
    warnings.showwarning = _WarnOnce()


class _RemarkHandler(logging.Handler):
    """Shows what the package logs as remarks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        console.remark(record.getMessage())


class _WarnOnce:
    """Stands in for ``warnings.showwarning``: one line per message; other people's deprecations are not shown."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text not in self._seen and not issubclass(category, DeprecationWarning | FutureWarning):
            self._seen.add(text)
            console.warn(text)
