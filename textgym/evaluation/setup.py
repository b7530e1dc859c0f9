"""What all commands begin with: the task, the model, and libraries that keep quiet."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import gymnasium as gym

from textgym import console
from textgym.envs.arguments import TaskSource, build_task, built_in_names
from textgym.errors import CheckpointError, TextGymError, did_you_mean
from textgym.evaluation.settings import use_plain_values
from textgym.files.paths import user_path
from textgym.hub import SHIPPED
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.text_model import Precision, TextModel
from textgym.registration import registered_ids
from textgym.rewards import NAMED_REWARDS
from textgym.security.consent import check_names, import_named_module, names_module
from textgym.tasks.base import prompt_of
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, Split, Task

_NOISY_LOGGERS = ("transformers", "datasets", "huggingface_hub", "matplotlib", "absl")
_Settings = TypeVar("_Settings")


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

    def __post_init__(self) -> None:
        use_plain_values(self)

    def make(self, split: Split) -> Task:
        """Make the task on one split.

        Raises:
            UnknownEnvError: There is no such id.
            DataError: The data cannot be read.
        """
        return build_task(self._source(), self.data, self.prompt_column, self.reference_column, split)

    def _source(self) -> TaskSource:
        """Return what the environment makes its task of."""
        source: TaskSource = gym.registry[check_env_id(self.env_id)].kwargs["task"]
        return source

    def located(self) -> TaskChoice:
        """Return the same choice with an absolute path for data that is a file or folder."""
        if self.data is None or self.data in built_in_names(self._source()):
            return self
        return replace(self, data=_absolute(self.data))

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments of ``gym.make`` that say which data it is."""
        return {"data": self.data, "prompt_column": self.prompt_column, "reference_column": self.reference_column}


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


def is_episode_level(env_id: str) -> bool:
    """Say whether an action of this environment is a whole text."""
    return str(gym.registry[env_id].entry_point).endswith(":EpisodeTextEnv")


def _import(module: str, env_id: str) -> None:
    if not names_module(env_id):
        raise UnknownEnvError(f"expected 'module:Id-v0', got {env_id!r}; name a module and an id")
    try:
        import_named_module(env_id, "env_id")
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UnknownEnvError(f"expected 'module:Id-v0', got {env_id!r}: there is no module {module!r}") from error


def load_model(name: str, device: str, precision: Precision = "fp32") -> TextModel:
    """Load a language model onto a device."""
    return load_language_model(name, precision=precision, device=pick_device(device))


def stable_name(model: str) -> str:
    """Return the name of a model in a form that still finds it from another working directory."""
    return _absolute(model) if model not in SHIPPED and user_path(model).is_dir() else model


def located(settings: _Settings) -> _Settings:
    """Return a command's settings with absolute paths: data, models, rewards, comparisons and the folder of the run.

    They are stored with a run, which may be gone on with or looked at from another working directory.
    """
    known = {field.name for field in fields(settings)} & _LOCATE.keys()  # type: ignore[arg-type]  # a dataclass
    given = {name: getattr(settings, name) for name in known if getattr(settings, name) is not None}
    changes = {name: _LOCATE[name](value) for name, value in given.items()}
    return replace(settings, choice=settings.choice.located(), **changes)  # type: ignore[type-var, attr-defined]


def settings_from_json(kind: Callable[..., _Settings], record: object) -> _Settings:
    """Read what ``dataclasses.asdict`` wrote of a command's settings; fields unknown by now are skipped.

    Raises:
        CheckpointError: It is something else.
        ConsentError: A field names a module. Within `textgym.security.consent.names_from` the user may have consented.
    """
    values = _values(kind, record)
    choice = _values(TaskChoice, values.get("choice"))
    check_names({**values, "choice": choice})
    return kind(**{**values, "choice": TaskChoice(**choice)})


def _values(kind: Callable[..., Any], record: object) -> dict[str, Any]:
    """Return what a record says about the fields of a dataclass, each of a kind that the field may have."""
    if not isinstance(record, Mapping):
        raise CheckpointError(f"expected the settings of a run, got {type(record).__name__}; is the folder a run?")
    hints = get_type_hints(kind)
    values = {name: value for name, value in record.items() if name in hints}
    for name, value in values.items():
        if name != "choice" and not _may_be(value, hints[name]):
            raise CheckpointError(f"expected another kind of {name} in the settings of a run, got {value!r}")
    return values


def _may_be(value: object, hint: Any) -> bool:
    """Say whether a value from JSON can be that of a field with a type hint."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):
        return any(_may_be(value, each) for each in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def with_budgets(task: Task, max_prompt_tokens: int | None, max_new_tokens: int | None) -> Task:
    """Return a copy of a task with other budgets; ``None`` keeps its own."""
    if max_prompt_tokens is None and max_new_tokens is None:
        return task
    task = copy.copy(task)
    task.max_prompt_tokens = task.max_prompt_tokens if max_prompt_tokens is None else max_prompt_tokens
    task.max_new_tokens = task.max_new_tokens if max_new_tokens is None else max_new_tokens
    return task


def require_context(model: TextModel, task: Task) -> None:
    """Check that a model can read prompt and response of a task at once.

    Raises:
        ModelError: Its context is shorter than the task's budgets.
    """
    later = (task.max_turns - 1) * (task.max_reply_tokens + task.max_new_tokens)
    model.require_context(task.max_prompt_tokens + task.max_new_tokens + later)


def _stable_reward(reward: str) -> str:
    return reward if reward in (*NAMED_REWARDS, "learned", "gold") else stable_name(reward)


def _absolute(name: str) -> str:
    """Return the absolute path of a file or folder that exists; any other name as it is."""
    path = user_path(name)
    return str(path.resolve()) if name and path.exists() else name


def _absolute_target(name: str) -> str:
    """Return the absolute path of a folder that need not exist yet."""
    return str(user_path(name).absolute())


_LOCATE: Mapping[str, Callable[[str], str]] = {
    "out": _absolute_target,
    "model": stable_name,
    "reference_model": stable_name,
    "reward": _stable_reward,
    "embeddings": stable_name,
    "feedback": _absolute,
}


def encode_prompts(task: Task, examples: Sequence[Example], tokenizer: Tokenizer, budget: int) -> list[list[int]]:
    """Return the prompt ids of ``n`` examples as environments encode them, each of at most ``budget`` ids."""
    prompts = [prompt_of(task, example) for example in examples]
    return [prompt.ids for prompt in tokenizer.encode_prompts(prompts, budget)]


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
