"""The device that models run on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import textwrap
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from textgym.naming import argument

_REASON_CHARS = 60


def pick_device(device: str) -> torch.device:
    """Return the device that is meant; ``"auto"`` is a GPU where there is one.

    Raises:
        ValueError: There is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = textwrap.shorten(str(error), _REASON_CHARS, placeholder=" ...")
        raise ValueError(
            f"expected {argument('device')} to be auto, cpu or cuda, got {device!r}; choose one (torch: {reason})"
        ) from error


def fetched(tensors: Sequence[Tensor], device: torch.device) -> Callable[[], tuple[Tensor, ...]]:
    """Start to bring tensors to a device, and return a function that waits for them.

    What a GPU is given to do between the two calls does not delay them.
    """
    source = tensors[0].device
    is_queued = source.type == "cuda" and device.type == "cpu"
    copies = tuple(tensor.to(device, non_blocking=is_queued) for tensor in tensors)  # from a GPU: into pinned memory
    if not is_queued:
        return lambda: copies
    arrival = torch.cuda.Event()
    arrival.record(torch.cuda.current_stream(source))

    def collect() -> tuple[Tensor, ...]:
        arrival.synchronize()
        return copies

    return collect


def release_memory() -> None:
    """Give memory that nobody refers to back to the system, where the C library can: glibc, on Linux.

    Tensors of ever-new sizes split memory into pieces that few later ones fit into, so a process grows to several times
    what it needs at once; malloc by itself gives back only what lies at the end. Takes about 0.1 s per GB.
    """
    gc.collect()  # agents and models refer to themselves
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
