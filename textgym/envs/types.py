"""Types of what goes into environments and comes out of them; Gymnasium prescribes dicts, and no keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from textgym.types import Grain

Info = dict[str, Any]
"""What is told beside an observation; the docstrings of environments list its keys."""

Options = dict[str, object]
"""Of a reset: ``task_key``, or in vector environments ``task_keys``."""

Observation = dict[str, npt.NDArray[Any]]
"""Token grain: ``input_ids``, ``attention_mask`` and ``prompt_length``."""

EnvState = dict[str, Any]
"""Everything an environment needs to go on bit for bit: numpy arrays, and values that JSON knows."""

AnyEnv = gym.Env[Any, Any]
"""An environment of either grain, with whatever wrappers around it."""

Action = Any
"""A token id, or a text."""


def batched(observations: Sequence[Any], grain: Grain) -> list[str] | Observation:
    """Return observations of single environments as agents take them: a list of texts, or arrays (n, ...) by name."""
    if grain == "episode":
        return list(observations)
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
