"""Metrics of the texts that an iteration finished."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from textgym.envs.types import Info
from textgym.values import as_object

REPORTED = ("rewards", "episode", "gold", "is_success", "finish_reason")
"""What :func:`describe_texts` reads of infos."""


def describe_texts(infos: Sequence[Info]) -> dict[str, float]:
    """Means over finished texts of what their environment reports; of other environments, of the episode's return.

    ``"reward_std"`` is the standard deviation of the rewards; ``"cut"`` the share of texts that the token budget cut.
    """
    columns: dict[str, list[float]] = defaultdict(list)
    for info in infos:
        rewards = as_object(info.get("rewards"))
        for name, reward in rewards.items():
            columns[f"reward/{name}"].append(reward)
        total = rewards.get("total", info.get("episode", {}).get("r"))
        reason = info.get("finish_reason")
        known = {
            "reward": total,
            "gold": info.get("gold"),
            "success": info.get("is_success"),
            "eos": None if reason is None else reason == "eos",
            "cut": None if reason is None else reason == "length",
        }
        for name, value in known.items():
            if value is not None:
                columns[name].append(value)
    spread = {"reward_std": float(np.std(columns["reward"]))} if columns["reward"] else {}
    return {name: mean(values) for name, values in columns.items() if values} | spread


def mean(values: Sequence[float]) -> float:
    """The mean as a Python float; NaN of none."""
    return float(np.mean(values)) if values else math.nan
