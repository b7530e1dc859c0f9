"""A rollout buffer that also stores which actions were allowed, for algorithms with action masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer, Segment
from textgym.models.batch import EpisodeBatch
from textgym.types import BoolArray


class MaskedSamples(NamedTuple):
    """Transitions as sb3-contrib's algorithms with masks read them; but for observations and masks, all are (N,)."""

    observations: EpisodeBatch
    actions: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    returns: Tensor
    action_masks: Tensor  # (N, V)


class MaskedEpisodeBuffer(EpisodeRolloutBuffer):
    """An :class:`~textgym.agents.common.rollout_buffer.EpisodeRolloutBuffer` with action masks, a bit per token."""

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self._masks: list[np.ndarray] = []  # of every step (B, V / 8), packed

    def add(  # type: ignore[override]
        self,
        obs: Mapping[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        episode_start: np.ndarray,
        value: Tensor,
        log_prob: Tensor,
        action_masks: BoolArray | None = None,
    ) -> None:
        """Store one step of all environments; ``action_masks`` (B, V) are the actions that could be taken."""
        super().add(obs, action, reward, episode_start, value, log_prob)
        shape = (self.n_envs, int(self.action_space.n))  # type: ignore[attr-defined]  # Discrete
        masks = np.ones(shape, dtype=bool) if action_masks is None else np.asarray(action_masks, bool).reshape(shape)
        self._masks.append(np.packbits(masks, axis=1))

    def samples(self, segments: list[Segment]) -> MaskedSamples:  # type: ignore[override]
        """The transitions of ``segments``, with their masks."""
        found = super().samples(segments)
        packed = np.stack(self._masks).reshape(-1, self._masks[0].shape[1])[found.places]
        masks = np.unpackbits(packed, axis=1, count=int(self.action_space.n)).astype(bool)  # type: ignore[attr-defined]
        return MaskedSamples(*found[:-1], torch.from_numpy(masks).to(self.device))
