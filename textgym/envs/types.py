"""Types of what goes into environments and comes out of them; Gymnasium prescribes dicts, and no keys."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy.typing as npt

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
