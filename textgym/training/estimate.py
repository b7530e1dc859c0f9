"""How long a run will take, guessed before it starts from its size and a short measurement of this machine."""

from __future__ import annotations

import time
from typing import Any

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


def guess_training(agent: Any, iterations: int, eval_prompts: int) -> float:
    """Return the seconds that an on-policy agent will take, evaluation included; right within a factor of two or so."""
    parameters: int = sum(parameter.numel() for parameter in agent.text_model.parameters())
    speed = flops_per_second(agent.device)
    response: int = agent.env.get_attr("max_new_tokens")[0]
    prompt: float = agent.env.get_attr("max_prompt_tokens")[0] / 3  # prompts rarely fill their budget
    tokens: int = iterations * agent.n_steps * agent.n_envs
    read = tokens * (1 + prompt / response)  # every text is read with its prompt
    epochs: int = getattr(agent, "n_epochs", 1)
    trained = 2 * parameters * read * (2 + 3 * epochs)  # prefill and reference; forward and backward per epoch
    sampled = 2 * parameters * (tokens + 2 * eval_prompts * response)
    return trained / (speed * _EFFICIENCY) + sampled / (speed * _DECODING_EFFICIENCY)
