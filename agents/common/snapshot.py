"""The state of an agent when a rollout began, which can then be saved in the middle of one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textgym.errors import CheckpointError
from textgym.models.stored_values import StoredRecord
from textgym.models.weights import WeightsWatch

_LARGEST_COPY = 3 * 2**29
"""Bytes of weights and moments, 12 per trained weight, that are copied before an update, on the same device."""
_LARGEST_SHARE = 1 / 16
"""Of a GPU's memory, for that copy."""


@dataclass
class Snapshot:
    """The state of an agent at the beginning of a rollout: all that it changes but weights and optimizer.

    Attributes:
        tensors: States of random generators, and which episodes began; after ``remember_weights``, weights too.
        record: Counters, settings, environments: plain values that nothing else refers to.
        problems: Parts that cannot be restored, reported whenever the state is read.
        has_weights: Whether weights are remembered: copied, or watched for changes.
        unchanged: Parts that must not have changed since, where there is no copy of the weights.
    """

    tensors: dict[str, Tensor]
    record: StoredRecord
    problems: list[str]
    has_weights: bool = False
    unchanged: WeightsWatch | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether all that an update changes is among the tensors."""
        return self.has_weights and self.unchanged is None

    def require_weights(self) -> None:
        """Check that the weights of then are still known.

        Raises:
            CheckpointError: They changed, and there is no copy.
        """
        if not self.has_weights:
            raise CheckpointError(
                "expected an agent between updates, got one within; save when a rollout starts, as in a callback's "
                "_on_rollout_start"
            )
        if self.unchanged is not None and self.unchanged.has_changed():
            raise CheckpointError("an update had begun to change the weights, which are too large to be copied before")


def room_for_copy(device: torch.device) -> float:
    """Return the bytes of weights and moments that may be copied on a device."""
    if device.type != "cuda":
        return _LARGEST_COPY
    return min(_LARGEST_COPY, _LARGEST_SHARE * torch.cuda.get_device_properties(device).total_memory)
