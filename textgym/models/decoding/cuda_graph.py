"""A computation on the GPU, recorded once and replayed without Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor

_WARM_UPS = 2  # libraries choose algorithms and allocate workspaces in the first runs, which must not be recorded


class RecordedStep:
    """A CUDA graph of ``compute`` (https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    ``compute`` may read and write tensors that stay where they are, and must not look at any value. It runs a few times
    while it is recorded; ``state`` is what it changes and must therefore be put back.

    Args:
        compute: Function to record; returns a tensor.
        state: Tensor that ``compute`` both reads and writes.

    Raises:
        RuntimeError: ``compute`` does something that cannot be recorded, such as waiting for the GPU.
    """

    def __init__(self, compute: Callable[[], Tensor], state: Tensor) -> None:
        self._device = state.device
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            try:
                self._record(compute, state, current)
            finally:
                torch.cuda.set_stream(current)  # a recording that breaks off leaves another one behind

    def __call__(self) -> Tensor:
        """Replay it; the result is a tensor of its own."""
        with torch.cuda.device(self._device):
            self._graph.replay()
            return self._output.clone()

    def _record(self, compute: Callable[[], Tensor], state: Tensor, current: torch.cuda.Stream) -> None:
        before, side = state.clone(), _side_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for number in range(_WARM_UPS):
                # What waits for the GPU cannot be recorded, and is to fail here, not half-way through a recording.
                with _no_waiting() if number else nullcontext():
                    compute()
                state.copy_(before)
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = compute()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all warm-ups: libraries keep a workspace for every stream they have seen."""
    return torch.cuda.Stream(device)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Raise ``RuntimeError`` where the block waits for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
