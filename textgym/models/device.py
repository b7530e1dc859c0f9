"""The device that models run on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import textwrap

import torch

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


def release_memory() -> None:
    """Give memory that nobody refers to back to the system, where the C library can: glibc, on Linux.

    Tensors of ever-new sizes split memory into pieces that few later ones fit into, so a process grows to several times
    what it needs at once; malloc by itself gives back only what lies at the end. Takes about 0.1 s per GB.
    """
    gc.collect()  # agents and models refer to themselves
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
