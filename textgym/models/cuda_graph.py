"""A computation on the GPU, recorded once and replayed without Python."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 2  # libraries choose algorithms and allocate workspaces in the first runs, which must not be recorded


class RecordedStep:
    """A CUDA graph of ``compute`` (https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    ``compute`` may read and write tensors that stay where they are, and must not look at any value. It runs a few times
    while it is recorded; ``state`` is what it changes and must therefore be put back.

    Args:
        compute: What to record; returns a tensor.
        state: Tensor that ``compute`` both reads and writes.

    Raises:
        RuntimeError: ``compute`` does something that cannot be recorded, such as waiting for the GPU.
    """

    def __init__(self, compute: Callable[[], Tensor], state: Tensor) -> None:
        before = state.clone()
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                compute()
                state.copy_(before)
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = compute()

    def __call__(self) -> Tensor:
        """Replay it; the result is a tensor of its own."""
        self._graph.replay()
        return self._output.clone()
