"""Text generation token by token, many copies in one numpy state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgym.envs.arguments import TaskSource
from textgym.envs.base import VectorTextEnv
from textgym.envs.token_core import TokenAttributes
from textgym.envs.token_text import TokenTextEnv
from textgym.envs.types import Info, Observation, Options
from textgym.types import BoolArray, FloatArray, IntArray


class TokenTextVectorEnv(TokenAttributes, VectorTextEnv[Observation, IntArray]):
    """Copies of :class:`~textgym.envs.token_text.TokenTextEnv`, stepped together; what ``gym.make_vec`` returns.

    ## Description
    See :class:`~textgym.envs.token_text.TokenTextEnv` for the task, the spaces, the rewards and the arguments. Copy
    ``i`` behaves like a single environment with its seed: its ``k``-th prompt depends on that seed and ``k`` only. A
    step costs a few numpy calls; texts are decoded and scored in one batch when they end.

    ## Seeds
    ``reset(seed=s)`` seeds copy ``i`` with ``s + i``; ``reset(seed=[7, 7, 7, 7])`` gives one prompt four times, now
    and at every later reset. ``reset(options={"task_key": key})`` names the example of all copies,
    ``reset(options={"task_keys": [...]})`` one for each (``None``: random).

    ## Episode End
    Autoreset mode is ``SAME_STEP``: a copy that ends returns the observation of its next prompt; its last observation
    and info are ``infos["final_obs"][i]`` and ``infos["final_info"]``, with masks ``_final_obs`` and ``_final_info``.

    ## Arguments
    ``num_envs`` and those of :class:`~textgym.envs.token_text.TokenTextEnv`.

    ## Version History
    * v0: first release.
    """

    def __init__(self, task: TaskSource, num_envs: int = 1, **arguments: Any) -> None:
        super().__init__(TokenTextEnv(task, **arguments), num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Options | None = None
    ) -> tuple[Observation, Info]:
        """Start all copies on random examples, or on those that ``options`` names."""
        rows = range(self.num_envs)
        self._core.reset(rows, *self._begin_all(seed, options))
        infos = self._add_infos({}, {row: self._core.reset_info(row) for row in rows})
        return self._core.observe(), self._masked(infos)

    def step(self, actions: IntArray) -> tuple[Observation, FloatArray, BoolArray, BoolArray, Info]:
        """Append one token per copy; copies that end are scored together and reset.

        Args:
            actions: Token ids, shape ``(num_envs,)``.
        """
        finished = self._core.step(actions)
        rewards = np.zeros(self.num_envs)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        infos: Info = {}
        if finished.size:
            rewards[finished], terminations[finished], infos = self._finish(finished)
        infos = self._masked(infos)
        return self._core.observe(), rewards, terminations, np.zeros(self.num_envs, dtype=np.bool_), infos

    def observation(self) -> Observation:
        """Return the current observations again, as the last ``reset`` or ``step`` did."""
        return self._core.observe()

    def action_masks(self) -> BoolArray:
        """Return which tokens the task lets agents write next, ``(n, V)``; for algorithms that mask actions."""
        return self._core.action_masks()

    def _finish(self, finished: IntArray) -> tuple[FloatArray, BoolArray, Info]:
        """Continue the copies whose turn ended, and reset those whose episode did.

        Returns:
            Rewards of the rows, flags of the episodes that ended, and the infos of the step.
        """
        ends = self._core.finish(finished)
        rows: list[int] = finished[ends.ended].tolist()
        if not rows:
            return ends.rewards, ends.ended, {}
        finals = [info for info, ended in zip(ends.infos, ends.ended, strict=True) if ended]
        self._print_ends(rows, finals)
        last = {
            row: {"final_obs": self._core.observe_row(row), "final_info": info}
            for row, info in zip(rows, finals, strict=True)
        }
        self._core.reset(rows, *self._begin_next(rows))
        infos = self._add_infos(self._add_infos({}, last), {row: self._core.reset_info(row) for row in rows})
        return ends.rewards, ends.ended, infos

    def _masked(self, infos: Info) -> Info:
        """Add the action masks of a task that has some."""
        if self._core.has_masks:
            masks = self.action_masks().astype(np.int8)
            infos = self._add_infos(infos, {row: {"action_mask": mask} for row, mask in enumerate(masks)})
        return infos
