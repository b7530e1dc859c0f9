"""A reward of 1 for a success by the task's own criterion, else 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.rewards.whole import EpisodeReward
from textgym.types import Episode, FloatArray


class SuccessReward(EpisodeReward):
    """1 for a response that is a success by the task's own criterion, else 0: the reward of a task that names none.

    Raises:
        ValueError: The task has episodes of several turns, and a state that is not to be seen in them.
    """

    name = "success"

    def of_episodes(self, episodes: Sequence[Episode]) -> FloatArray:
        """Score ``n`` episodes; shape ``(n,)``."""
        return np.array([float(self._task.is_success(episode)) for episode in episodes], dtype=np.float64)
