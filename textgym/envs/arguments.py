"""Constructor arguments common to all environments: task, reward, and their checks."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from textgym.data.choice import columns_in_template
from textgym.envs.limits import use_a_budget
from textgym.envs.rendering import check_render_mode
from textgym.errors import did_you_mean, suggested
from textgym.naming import argument
from textgym.rewards import resolve_reward
from textgym.security.consent import load_attribute
from textgym.tasks.base import with_prompt_template
from textgym.text.templates import SLOT, parse_template
from textgym.types import DEFAULT_MODEL, SPLITS, Data, NameOrPath, RewardFn, Split, Task
from textgym.values import as_text, attribute_of, is_whole, plain_value

TaskSource = str | Callable[..., Task]
EPISODE_ARGUMENTS = (
    *("data", "prompt_column", "reference_column", "prompt_template"),
    *("split", "reward", "stop", "render_mode"),
)
TOKEN_ARGUMENTS = (*EPISODE_ARGUMENTS, "model", "max_prompt_tokens", "max_new_tokens")
_logger = logging.getLogger("textgym")
_is_reward_needed: ContextVar[bool] = ContextVar("is_reward_needed", default=True)


def build_task(
    task: TaskSource,
    data: Data | None,
    prompt_column: str | None,
    reference_column: str | None,
    split: Split,
    prompt_template: str | None = None,
    chosen: Mapping[str, str] | None = None,
) -> Task:
    """Make the task of an environment; arguments that are ``None`` are left to the task's own defaults.

    ``chosen`` are choices among the task's own :func:`options_of`.
    """
    if split not in SPLITS:
        known = ", ".join(SPLITS)
        raise ValueError(f"expected {argument('split')} out of {known}, got {split!r}.{suggested(split, SPLITS)}")
    given = {"data": data, "prompt_column": prompt_column, "reference_column": reference_column}
    given = {name: value for name, value in given.items() if value is not None}
    template = None if prompt_template is None else as_template(prompt_template)
    with columns_in_template(() if template is None else _columns_of(template, prompt_column)):
        made: Task = _factory_of(task)(split=split, **given, **(chosen or {}))
    return made if template is None else with_prompt_template(made, template)


def _columns_of(template: str, prompt_column: str | None) -> tuple[str, ...]:
    try:
        return parse_template(template, prompt_column).columns
    except ValueError:  # it is raised when the task takes the template, which may know its prompt by another name
        return ()


def as_template(value: object) -> str:
    """Return a prompt template; anything but a text is a ``TypeError``."""
    if not isinstance(value, str):
        raise TypeError(f"expected {argument('prompt_template')} as a text with {SLOT} in it, got {value!r:.80}")
    return value


def options_of(task: TaskSource) -> Mapping[str, Sequence[str]]:
    """Return what a task offers to choose: name -> values, the first of which is the default."""
    found: Mapping[str, Sequence[str]] = attribute_of(_factory_of(task), "options") or {}
    return found


def start_model_of(task: Task | TaskSource) -> str:
    """Return the name of the shipped model that is started from in a task, which need not be made for that."""
    named = _factory_of(task) if isinstance(task, str) else task
    return str(attribute_of(named, "model") or DEFAULT_MODEL)


def built_in_names(task: TaskSource) -> tuple[str, ...]:
    """Return the names of the data that a task brings along; they are no paths."""
    return tuple(attribute_of(_factory_of(task), "built_in") or ())


def _factory_of(task: TaskSource) -> Callable[..., Task]:
    """Return what makes a task."""
    factory: Callable[..., Task] = load_attribute(task) if isinstance(task, str) else task
    return factory


def build_reward(reward: RewardFn | NameOrPath | None, task: Task, data: Data | None) -> RewardFn:
    """Resolve the reward of an environment; without one the task's own, with a remark on a user's data."""
    is_own = data is not None and as_text(data) not in (attribute_of(task, "built_in") or ())
    if reward is None and is_own and _is_reward_needed.get():
        reason = attribute_of(task, "reward_reason") or f"The default reward is {task.reward!r}."
        given = argument("reward", ...)
        hint = f"{reason.removesuffix('.')}; {given} chooses another."
        _logger.warning("%s on %r uses its default reward. %s", task.name.capitalize(), _shown(task, data), hint)
    return resolve_reward(task.reward if reward is None else reward, task)


@contextmanager
def without_remark_on_reward() -> Iterator[None]:
    """Say nothing of a default reward within the block: nothing is learned from it."""
    token = _is_reward_needed.set(False)
    try:
        yield
    finally:
        _is_reward_needed.reset(token)


def build_task_and_reward(
    task: TaskSource,
    data: Data | None,
    prompt_column: str | None,
    reference_column: str | None,
    split: Split,
    reward: RewardFn | NameOrPath | None,
    prompt_template: str | None = None,
    chosen: Mapping[str, str] | None = None,
) -> tuple[Task, RewardFn]:
    """Return the task of an environment, and the reward that scores it."""
    made = build_task(task, data, prompt_column, reference_column, split, prompt_template, chosen)
    return made, build_reward(reward, made, data)


def check_arguments(
    task: TaskSource, others: Mapping[str, object], known: Iterable[str], render_mode: str | None
) -> dict[str, str]:
    """Return the choices among the options of a task, out of all arguments that environments do not have.

    Raises:
        TypeError: There is another one, or an unknown way of rendering.
    """
    offered = options_of(task) if others else {}
    refuse_unknown(others, (*known, *offered))
    check_render_mode(render_mode)
    return {name: str(value) for name, value in others.items()}


def _shown(task: Task, data: Data | None) -> str:
    """Return what data are called."""
    match data:
        case str() | os.PathLike():
            return os.fspath(data)
    return task.dataset.name


def refuse_unknown(
    given: Mapping[str, object], known: Iterable[str], what: str = "an argument of this environment"
) -> None:
    """Raise ``TypeError`` for the first argument that an environment does not have."""
    known = tuple(known)
    unknown = [name for name in given if name not in known]
    if "max_episode_steps" in unknown:
        raise TypeError(use_a_budget(f"max_episode_steps={given['max_episode_steps']}"))
    if unknown:
        raise TypeError(f"expected {what}, got {unknown[0]!r}.{did_you_mean(unknown[0], known)}")


def check_budget(name: str, value: int | None, default: int) -> int:
    """Return a positive integer, ``default`` for ``None``."""
    if value is None:
        return default
    budget = plain_value(value)
    if not is_whole(budget):
        raise TypeError(f"expected {argument(name)} to be a positive integer, got {value!r}")
    if budget < 1:
        raise ValueError(f"expected {argument(name)} to be at least 1, got {value}")
    return int(budget)


def stops_of(stop: Iterable[str]) -> tuple[str, ...]:
    """Return stop strings as a tuple; a single string is refused, as it would be read as its characters."""
    match stop:
        case str():
            raise TypeError(f"expected a sequence of stop strings, got the string {stop!r}; write stop=({stop!r},)")
        case Iterable():
            stops = tuple(stop)
        case _:
            raise TypeError(f"expected a sequence of stop strings, got {stop!r}; write stop=() for none")
    if not all(map(as_text, stops)):
        raise ValueError(f"expected non-empty stop strings, got {stops!r}; remove the empty ones")
    return stops
