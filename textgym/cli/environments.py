"""The table of environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gymnasium as gym

from textgym import console
from textgym.envs.arguments import build_task, options_of
from textgym.envs.choice import is_episode_level
from textgym.registration import registered_ids
from textgym.rewards import reward_name
from textgym.types import SPLITS

_Row = tuple[str, str, str, str, str]


def run_envs() -> list[_Row]:
    """Print every registered id with its grain, data and sizes, and default reward, and the options of tasks."""
    rows = [_describe(env_id) for env_id in registered_ids()]
    console.print_rows(["id", "action", "data", "examples", "reward"], rows)
    console.say("Examples: for training/validation/test.")
    console.say(
        "Other data: --data, a file (jsonl, json, csv, tsv, parquet, txt), a folder, docstrings, a Hugging Face id."
    )
    console.heading("Options of tasks: --task-option NAME=VALUE; the first value is the default")
    for env_id in registered_ids():
        shown = "; ".join(f"{name}={'|'.join(values)}" for name, values in _options(env_id).items())
        if shown and not is_episode_level(env_id):
            console.say(f"{env_id}: {shown}")
    return rows


def _describe(env_id: str) -> _Row:
    source = gym.registry[env_id].kwargs["task"]
    grain = "a text" if is_episode_level(env_id) else "a token"
    try:
        task = build_task(source, None, None, None, "train")
        reward = reward_name(task.reward)
        sizes = [len(build_task(source, None, None, None, split).dataset) for split in SPLITS]
        return env_id, grain, task.dataset.name, "/".join(map(_short, sizes)), reward
    except Exception as error:  # a task of a user, without default data or reward: the others are listed all the same
        return env_id, grain, f"({error})"[:40], "?", "?"


def _options(env_id: str) -> Mapping[str, Sequence[str]]:
    """Return the options of a task; none of one that cannot be imported, which the table says."""
    try:
        return options_of(gym.registry[env_id].kwargs["task"])
    except Exception:  # as in the table: the others are listed all the same
        return {}


def _short(size: int) -> str:
    """Return a number of examples as people say it.

    >>> _short(704), _short(100_000)
    ('704', '100k')
    """
    return f"{size // 1000}k" if size >= 1000 and size % 1000 == 0 else f"{size:,}"
