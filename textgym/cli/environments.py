"""The table of environments."""

from __future__ import annotations

import gymnasium as gym

from textgym import console
from textgym.envs.arguments import build_task
from textgym.envs.choice import is_episode_level
from textgym.registration import registered_ids
from textgym.rewards import reward_name


def run_envs() -> list[tuple[str, str, str, str]]:
    """Print every registered id with its grain, its data and its default reward; return the rows."""
    rows = [_describe(env_id) for env_id in registered_ids()]
    console.print_rows(["id", "action", "data", "reward"], rows)
    console.say(
        "Other data: --data FILE (jsonl, json, csv, tsv, parquet, txt), a folder, docstrings, a Hugging Face id."
    )
    return rows


def _describe(env_id: str) -> tuple[str, str, str, str]:
    spec = gym.registry[env_id]
    grain = "a whole text" if is_episode_level(env_id) else "one token"
    try:
        task = build_task(spec.kwargs["task"], None, None, None, "train")
        return env_id, grain, task.dataset.name, reward_name(task.reward)
    except Exception as error:  # a task of a user, without default data or reward: the others are listed all the same
        return env_id, grain, f"({error})"[:40], "?"
