"""States of the global random generators: read, restored, and as parts of a checkpoint."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.distributed import Communicator
from textgym.errors import CheckpointError
from textgym.models.stored_values import StoredRecord, from_json, to_json


class RandomStates(NamedTuple):
    """The states of the global random generators of Python, numpy and torch."""

    python: tuple[Any, ...]
    numpy: dict[str, Any]
    torch: Tensor
    cuda: list[Tensor]

    @classmethod
    def read(cls) -> Self:
        """Return the present ones."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Let the generators go on from here."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def describe_generators() -> StoredRecord:
    """Return the states of Python's and numpy's generators as JSON; torch's are tensors."""
    return {"python": random.getstate(), "numpy": to_json(np.random.get_state(legacy=False))}


def restore_generators(record: StoredRecord, tensors: Mapping[str, Tensor]) -> None:
    """Let the generators go on from parts of a checkpoint.

    Args:
        record: Return value of :func:`describe_generators`.
        tensors: ``"rng.torch"``, and ``"rng.cuda.0"`` and so on of GPUs.

    Raises:
        CheckpointError: They are no such states.
    """
    version, internal, gauss = record["python"]
    try:
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state(from_json(record["numpy"]))
        torch.set_rng_state(tensors["rng.torch"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"expected states of random generators in a checkpoint, got others ({error}); use another checkpoint"
        ) from error
    devices = [tensors[name] for name in sorted(tensors) if name.startswith("rng.cuda.")]
    if len(devices) == 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(devices[0])
    elif devices and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(devices)


def cuda_states(ranks: Communicator) -> list[Tensor]:
    """States of the random generators of all GPUs; of several processes, each knows its own GPU only."""
    if not torch.cuda.is_available():
        return []
    return torch.cuda.get_rng_state_all() if ranks.size == 1 else [torch.cuda.get_rng_state()]
