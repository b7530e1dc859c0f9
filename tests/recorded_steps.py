"""Recorded steps without a GPU, so that what relies on them is tested on any machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from textgym.models.decoding import cuda_graph


class Replayed:
    """A CUDA graph's stand-in: operators on fixed tensors, recorded once and replayed without the Python around them.

    Like the original it refuses a computation that looks at a value.
    """

    made = 0

    def __init__(self, compute: Callable[[], Sequence[Tensor]], state: Tensor) -> None:
        before = state.clone()
        self._graph = make_fx(compute)()
        state.copy_(before)
        Replayed.made += 1

    def __call__(self) -> tuple[Tensor, ...]:
        return tuple(output.clone() for output in self._graph())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are recorded, as they are on a GPU."""
    monkeypatch.setattr(cuda_graph, "replays", lambda device: True)
    monkeypatch.setattr(cuda_graph, "RecordedStep", Replayed)
    monkeypatch.setattr(Replayed, "made", 0)
