"""The machine that a run was made on: its name, and the most memory that this process has taken."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch

from textgym.models.device import pick_device

_STATUS, _PROCESSORS = Path("/proc/self/status"), Path("/proc/cpuinfo")
_KIB = 1024


def describe_machine(device: str) -> dict[str, str | int]:
    """Return what speeds depend on: the processor, the threads of torch, and the GPU if one is used."""
    used = pick_device(device)
    gpu = {"gpu": torch.cuda.get_device_name(used)} if used.type == "cuda" else {}
    return {"processor": _processor(), "threads": torch.get_num_threads(), **gpu}


def peak_memory() -> int | None:
    """Return the most memory (bytes) that was resident in this process, libraries included; ``None`` if unknown.

    On Linux it is what the process has taken since its program began; elsewhere, what the system says of the process.
    """
    if _STATUS.is_file():  # the figure of getrusage is at least that of the process that started this one
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * _KIB


def peak_gpu_memory() -> int | None:
    """Return the most memory (bytes) of a GPU that tensors of this process have taken; ``None`` where none is used."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() and torch.cuda.is_initialized() else None


def _processor() -> str:
    if _PROCESSORS.is_file():
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
