"""A reward of 1 for a success by the task's own criterion, else 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.naming import argument
from textgym.types import Example, FloatArray, Task, episodes_of


class SuccessReward:
    """1 for a response that is a success by the task's own criterion, else 0: the reward of a task that names none."""

    name = "success"

    def __init__(self, task: Task) -> None:
        """Remember the task.

        Raises:
            ValueError: Its episodes have several turns.
        """
        if task.max_turns > 1:
            raise ValueError(
                f"expected a task of one turn for the reward 'success', got {task.name!r} of {task.max_turns}: rewards "
                f'see the last turn alone; give {argument("reward")}, or set reward = "none" in the task and reward '
                "turns in its turn_reward"
            )
        self._task = task

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        episodes = episodes_of(examples, responses)
        return np.array([float(self._task.is_success(episode)) for episode in episodes])
