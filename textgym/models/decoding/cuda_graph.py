"""A computation on the GPU, recorded once and replayed without Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

_WARM_UPS = 2  # libraries choose algorithms and allocate workspaces in the first runs, which must not be recorded
_FORMS = 4  # shapes and types of arguments that a function is recorded for
_Form = tuple[tuple[torch.Size, torch.dtype], ...]


class RecordedStep:
    """A CUDA graph of ``compute`` (https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    ``compute`` may read and write tensors that stay where they are, and must not look at any value. It runs a few times
    while it is recorded; ``state`` is what it changes and must therefore be put back.

    Args:
        compute: Function to record; returns tensors.
        state: Tensor that ``compute`` both reads and writes.

    Raises:
        RuntimeError: ``compute`` does something that cannot be recorded, such as waiting for the GPU.
    """

    def __init__(self, compute: Callable[[], Sequence[Tensor]], state: Tensor) -> None:
        self._device = state.device
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            try:
                self._record(compute, state, current)
            finally:
                torch.cuda.set_stream(current)  # a recording that breaks off leaves another one behind

    def __call__(self) -> tuple[Tensor, ...]:
        """Replay it; the results are tensors of their own."""
        with torch.cuda.device(self._device):
            self._graph.replay()
            return tuple(output.clone() for output in self._outputs)

    def _record(self, compute: Callable[[], Sequence[Tensor]], state: Tensor, current: torch.cuda.Stream) -> None:
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
            self._outputs = compute()


def replays(device: torch.device) -> bool:
    """Return whether computations on a device can be recorded."""
    return device.type == "cuda"


class Recordable(Protocol):
    """A model whose computations may be recorded."""

    @property
    def can_be_recorded(self) -> bool:
        """Return whether they may."""

    def stop_recording(self) -> None:
        """Let :attr:`can_be_recorded` be false from now on."""


def recorded(model: Recordable, compute: Callable[[], Sequence[Tensor]], state: Tensor) -> RecordedStep | None:
    """Record a computation of a model; ``None``, which is said, where it does something that cannot be recorded.

    Args:
        model: Model whose other computations are then not recorded either.
        compute, state: As for :class:`RecordedStep`.
    """
    try:
        return RecordedStep(compute, state)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        model.stop_recording()
        reason = str(error).partition("\n")[0]
        warnings.warn(f"decoding continues without CUDA graphs, slower: {reason}", stacklevel=3)
        return None


class Recordings:
    """Recordings of functions of tensors, valid as long as what they read stays in its place.

    A copy of it has nothing recorded.
    """

    def __init__(self) -> None:
        self._read: Hashable = None
        self._held: dict[_Form, tuple[Tensor, ...]] = {}  # arguments, where a recorded step reads them
        self._steps: dict[_Form, RecordedStep | None] = {}

    def run(
        self,
        model: Recordable,
        compute: Callable[..., Sequence[Tensor]],
        arguments: Sequence[Tensor],
        read: Hashable,
    ) -> Sequence[Tensor]:
        """Return ``compute(*arguments)``, replayed where a GPU can and shapes and types are among the first few.

        With gradients, nothing is replayed.

        Args:
            model: Model that it is part of; nothing is recorded where its computations may not be.
            compute: Takes tensors and returns tensors; the same function in every call.
            arguments: Tensors (B, ...) on one device.
            places: Tensors besides the arguments that it reads. Where one has moved, it is recorded again.
        """
        if torch.is_grad_enabled() or not (replays(arguments[0].device) and model.can_be_recorded):
            return compute(*arguments)
        if read != self._read:
            self._read, self._held, self._steps = read, {}, {}
        form = tuple((argument.shape, argument.dtype) for argument in arguments)
        if form not in self._steps:
            if len(self._steps) == _FORMS:
                return compute(*arguments)
            with torch.inference_mode(False):  # the next call may be one outside of it
                held = self._held[form] = tuple(argument.clone() for argument in arguments)
            self._steps[form] = recorded(model, lambda: compute(*held), held[0])
        step = self._steps[form]
        if step is None:
            return compute(*arguments)
        for place, argument in zip(self._held[form], arguments, strict=True):
            place.copy_(argument)
        return step()

    def __reduce__(self) -> tuple[type[Recordings], tuple[()]]:
        return Recordings, ()


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
