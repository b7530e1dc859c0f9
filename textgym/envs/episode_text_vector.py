"""Text generation with whole texts as actions, many copies scored in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded

from textgym.envs.arguments import TaskSource
from textgym.envs.base import VectorTextEnv
from textgym.envs.episode_core import EpisodeCore
from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.types import Info, Options
from textgym.types import BoolArray, FloatArray

Texts = tuple[str, ...]


class EpisodeTextVectorEnv(VectorTextEnv[Texts, Sequence[str]]):
    """Copies of :class:`~textgym.envs.episode_text.EpisodeTextEnv`, scored together; what ``gym.make_vec`` returns.

    ## Description
    See :class:`~textgym.envs.episode_text.EpisodeTextEnv` for the task, the spaces, the rewards and the arguments.
    Observations and actions are tuples of ``num_envs`` texts. Autoreset mode is ``SAME_STEP``: where an episode ends
    (in a task of one turn, at every step of every copy), the observation is the next prompt, and what was answered is
    in ``infos["final_obs"]`` and ``infos["final_info"]``.

    ## Seeds
    As in :class:`~textgym.envs.token_text_vector.TokenTextVectorEnv`: with equal seeds, both grains ask the same
    examples in the same order.

    ## Arguments
    ``num_envs`` and those of :class:`~textgym.envs.episode_text.EpisodeTextEnv`.

    ## Version History
    * v0: first release.
    """

    _core: EpisodeCore

    def __init__(self, task: TaskSource, num_envs: int = 1, **arguments: Any) -> None:
        super().__init__(EpisodeTextEnv(task, **arguments), num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Options | None = None
    ) -> tuple[Texts, Info]:
        """Show prompts of random examples, or of those that ``options`` names."""
        rows = range(self.num_envs)
        self._core.conversations.start(rows, *self._begin_all(seed, options))
        return self._shown(), self._add_infos({}, self._reset_infos(rows))

    def step(self, actions: Sequence[str]) -> tuple[Texts, FloatArray, BoolArray, BoolArray, Info]:
        """Write a turn in all copies; those whose episode ends are scored with one reward call and get new prompts."""
        conversations = self._core.conversations
        if not conversations.examples:
            raise ResetNeeded("expected a running episode, got a step before reset(); call reset()")
        ends = self._core.step(actions)
        rows = np.flatnonzero(ends.ended).tolist()
        last = {row: {"final_obs": conversations.shown(row), "final_info": ends.infos[row]} for row in rows}
        self._print_ends(rows, [ends.infos[row] for row in rows])
        conversations.start(rows, *self._begin_next(rows))
        infos = self._add_infos(self._add_infos({}, last), self._reset_infos(rows))
        return self._shown(), ends.rewards.copy(), ends.ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _shown(self) -> Texts:
        """Return what the agent is shown in every copy."""
        return tuple(self._core.conversations.shown(row) for row in range(self.num_envs))

    def _reset_infos(self, rows: Sequence[int]) -> dict[int, Info]:
        """Return what is reported at the start of copies."""
        return {row: {"task_key": self._core.conversations.examples[row].key} for row in rows}
