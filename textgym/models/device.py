"""Where models run."""

from __future__ import annotations

import torch


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
        reason = str(error).splitlines()[0]
        raise ValueError(f"expected 'auto', 'cpu' or 'cuda' as the device, got {device!r} ({reason})") from error
