"""An estimate of the time of on-policy training, from its size and a short measurement of this machine."""

from __future__ import annotations

import time

import torch

_SIDE = 1024
_EFFICIENCY = 0.35  # of the measured matrix product, reached by small models in training
_DECODING_EFFICIENCY = 0.12  # tokens are sampled one at a time per row


def flops_per_second(device: torch.device) -> float:
    """Return how fast this machine multiplies matrices, in floating-point operations per second."""
    matrix = torch.ones(_SIDE, _SIDE, device=device)
    matrix @ matrix
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1:
        (matrix @ matrix)[0, 0].item()
        times += 1
    return 2 * _SIDE**3 * times / (time.perf_counter() - start)


def seconds_per_token(parameters: int, device: torch.device, read: float, epochs: int) -> float:
    """Return the seconds that a token takes, from sampling to update; right within a factor of two or so.

    Args:
        parameters: Number of parameters of the network.
        device: Device that the network runs on.
        read: Tokens that are read for each one that is written: every text is read with its prompt.
        epochs: Passes over a rollout.
    """
    speed = flops_per_second(device)
    trained = 2 * parameters * read * (2 + 3 * epochs)  # prefill and reference; forward and backward per epoch
    return trained / (speed * _EFFICIENCY) + 2 * parameters / (speed * _DECODING_EFFICIENCY)
