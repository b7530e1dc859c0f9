"""Ids of text tasks in Gymnasium's registry, the only registry there is."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import gymnasium as gym

from textgym.types import Task

_GRAINS = (("", "TokenText"), ("Episode", "EpisodeText"))
# Earlier versions stay what they are, and are not "out of date" for those who compare with what they measured by them.
warnings.filterwarnings("ignore", r".*The environment TextSumm(Episode)?-v\d+ is out of date", DeprecationWarning)


def register_task(name: str, task: str | Callable[..., Task], *, version: int = 0) -> tuple[str, str]:
    """Register both grains of a task: ``{name}-v{version}`` and ``{name}Episode-v{version}``.

    Afterwards ``gymnasium.make`` knows both ids, and so does every command. Where the call stands in a module
    ``my_tasks``, commands and ``gymnasium.make`` import it by themselves for the id ``"my_tasks:Shout-v0"``.
    Registering the same task again changes nothing.

    Example::

        class Shout(TextTask):
            prompt_template = "In capitals: {prompt}"

        textgym.register_task("Shout", Shout)
        env = gym.make("Shout-v0", data=[{"prompt": "hello", "reference": "HELLO"}])

    Args:
        name: CamelCase name, such as ``"Shout"``.
        task: The task's class as ``"module:attribute"`` (imported at the first ``make``) or the class itself. It is
            called with ``split=`` and with those of ``data=``, ``prompt_column=``, ``reference_column=`` that the user
            gave; a ``prompt_template=`` that the user gave replaces the one of a :class:`~textgym.tasks.TextTask`.
        version: Raised by one whenever a behaviour changes.

    Returns:
        The two ids: token level, episode level.
    """
    ids = []
    for suffix, entry in _GRAINS:
        env_id = f"{name}{suffix}-v{version}"
        ids.append(env_id)
        _register(env_id, f"textgym.envs:{entry}Env", f"textgym.envs:{entry}VectorEnv", {"task": task})
    return ids[0], ids[1]


def registered_ids() -> list[str]:
    """Return the ids of all text environments, built in or the user's, sorted."""
    return sorted(env_id for env_id, spec in gym.registry.items() if str(spec.entry_point).startswith("textgym.envs:"))


def _register(env_id: str, entry_point: str, vector_entry_point: str, kwargs: dict[str, object]) -> None:
    """Register one id unless it is already there, the same."""
    present = gym.registry.get(env_id)
    if present is not None and present.entry_point == entry_point and present.kwargs == kwargs:
        return
    gym.register(env_id, entry_point=entry_point, vector_entry_point=vector_entry_point, kwargs=kwargs)
