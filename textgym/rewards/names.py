"""Rewards by name: what is built in, ``module:attribute``, and folders with reward models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from textgym.errors import did_you_mean
from textgym.files.paths import name_of, user_path
from textgym.naming import argument
from textgym.rewards.arguments import check_reward
from textgym.rewards.gold import GoldReward
from textgym.rewards.lazy import LazyReward
from textgym.rewards.protocol import RewardWithParts
from textgym.rewards.success import SuccessReward
from textgym.security.consent import load_attribute, load_named
from textgym.types import NameOrPath, RewardFn, Task

NAMED_REWARDS: Mapping[str, str] = {
    "rouge": "textgym.metrics.rouge:rougeL",
    "rouge1": "textgym.metrics.rouge:rouge1",
    "rouge2": "textgym.metrics.rouge:rouge2",
    "rougeL": "textgym.metrics.rouge:rougeL",
    "exact_match": "textgym.metrics.answers:exact_match",
    "f1": "textgym.metrics.answers:f1",
    "letters": "textgym.rewards.letters:letter_by_letter",
    "decoy": "textgym.rewards.letters:decoy_by_letter",
    "none": "textgym.rewards.composition:no_reward",
}
"""Names of rewards that need neither a task nor a model; ``"gold"``, ``"success"`` and ``"learned"`` are names too."""

_OF_TASKS: Mapping[str, Callable[[Task], RewardFn]] = {"gold": GoldReward, "success": SuccessReward}


def resolve_reward(reward: RewardFn | NameOrPath, task: Task | None = None) -> RewardFn:
    """Return the reward that ``reward`` names, or ``reward`` itself if it is one; composites are bound to ``task``.

    Args:
        reward: A callable; ``"learned"`` (the shipped reward model); ``"rouge"``, ``"rouge1"``, ``"rouge2"``,
            ``"rougeL"``; ``"exact_match"``, ``"f1"`` (short answers); ``"letters"``, ``"decoy"`` (spelling, paid letter
            by letter); ``"gold"`` (the true quality, where the data knows it); ``"success"`` (1 where
            the task's own criterion is met, else 0); ``"none"`` (always 0);
            ``"module:attribute"`` (a reward, or a class of rewards that takes no argument); or a folder with a fitted
            reward model. Models are loaded when they first score.
        task: Where ``"gold"`` and ``"success"`` come from.

    Raises:
        ValueError: No reward is called so, or it is ``"gold"`` or ``"success"`` and there is no task.
        TypeError: ``reward`` is neither a name nor callable.
    """
    name = name_of(reward)
    found: RewardFn = check_reward(reward if name is None else _by_name(name, task))
    return found.bind(task) if isinstance(found, RewardWithParts) else found


def _by_name(name: str, task: Task | None) -> RewardFn:
    """Return what a name stands for, not yet bound to the task if it is a composite."""
    if name == "learned":
        return LazyReward("learned", "tiny-reward")
    if name in _OF_TASKS:
        return _OF_TASKS[name](_required(name, task))
    if name in NAMED_REWARDS or (":" in name and not _looks_like_path(name)):
        found = load_attribute(NAMED_REWARDS[name]) if name in NAMED_REWARDS else load_named(name, "reward")
        reward = found() if isinstance(found, type) else found
        if not callable(reward):
            raise TypeError(f"expected a callable reward at {name!r}, got {type(reward).__name__}")
        return reward  # type: ignore[no-any-return]
    if user_path(name).is_dir():
        return LazyReward(name_of_folder(name), name)
    if _looks_like_path(name):
        raise ValueError(
            f"expected a folder with a reward model, got {name!r}, which does not exist or is no folder; check the path"
        )
    known = [*NAMED_REWARDS, *_OF_TASKS, "learned"]
    raise ValueError(
        f"expected a reward name, 'module:attribute', a folder with a reward model or a callable, got {name!r}."
        f"{did_you_mean(name, known)}"
    )


def name_of_folder(folder: NameOrPath) -> str:
    """Return what a reward model is called in plots, tables and logs: by its folder, or by the run that fitted it.

    >>> name_of_folder("runs/helpful")
    'helpful'
    """
    path = user_path(folder).absolute()
    is_part_of_run = path.name == "reward" and (path.parent / "config.json").is_file()
    name = path.parent.name if is_part_of_run else path.name
    return f"{name}-reward" if name in ("", "total", "turns") else name  # which stand for sums in infos


def _looks_like_path(name: str) -> bool:
    return os.sep in name or name.startswith("~") or Path(name).exists()


def _required(name: str, task: Task | None) -> Task:
    if task is None:
        raise ValueError(
            f"expected a task for the reward {name!r}, which knows what is good, got none; give {name!r} to an "
            f"environment as {argument('reward')}, or a task to resolve_reward({name!r}, task)"
        )
    return task
