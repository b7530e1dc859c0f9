"""Observations of token-level text environments: their space, and texts read from batches of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs
from torch import Tensor

from textgym.errors import TokenizerMismatchError
from textgym.models.batch import TextBatch
from textgym.models.text_model import TextModel
from textgym.spaces import TokenSpace


def require_texts(observations: VecEnvObs | None) -> dict[str, np.ndarray]:
    """Return the observations of an environment, arrays (n, ...) by name.

    Raises:
        TypeError: They are others.
    """
    if not isinstance(observations, dict):
        raise TypeError(
            f"expected observations of a token-level text environment, got {type(observations).__name__}; use e.g. "
            "TextSumm-v0"
        )
    return observations


def to_tensors(observations: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return observations as tensors on a device; a policy takes them from the host, too."""
    return {name: torch.as_tensor(array, device=device) for name, array in observations.items()}


def read_observation(obs: dict[str, Tensor]) -> TextBatch:
    """Read batched observations; lengths come from the mask, never from the ids."""
    texts = TextBatch.of_ids(obs["input_ids"].long(), obs["attention_mask"].sum(1, dtype=torch.long))
    return texts._replace(prompt_lengths=obs["prompt_length"][:, 0].long()) if "prompt_length" in obs else texts


def read_ids(obs: dict[str, Tensor], *, maybe_stored: bool = False) -> TextBatch:
    """Read observations that come from an environment, after a look at their type.

    Args:
        obs: The observations.
        maybe_stored: They may come from a buffer instead, which holds all of them as floats.
    """
    are_floats = [obs[name].is_floating_point() for name in ("input_ids", "attention_mask")]
    if any(are_floats) and not (maybe_stored and all(are_floats)):
        raise ValueError(
            f"expected token ids and a mask of integers, got {obs['input_ids'].dtype} and "
            f"{obs['attention_mask'].dtype}; if the environment is in a VecNormalize, make that with norm_obs=False"
        )
    return read_observation(obs)


def check_spaces(
    observation_space: spaces.Space[object], action_space: spaces.Space[object], use_sde: bool
) -> tuple[spaces.Dict, spaces.Discrete]:
    """Return the spaces of a token-level text environment; others are refused."""
    if (
        not isinstance(observation_space, spaces.Dict)
        or not {"input_ids", "attention_mask"} <= observation_space.keys()
        or not isinstance(action_space, spaces.Discrete)
    ):
        raise ValueError(
            "expected a token-level text environment (Dict observation with input_ids and attention_mask, Discrete "
            f"actions), got {type(observation_space).__name__} and {type(action_space).__name__}; use e.g. TextSumm-v0"
        )
    if use_sde:
        raise ValueError("expected use_sde=False, got True; tokens are discrete actions")
    return observation_space, action_space


def longest_prompt(observation_space: spaces.Dict) -> int:
    """Return how many tokens a prompt can have; those of a whole text where the observations do not say."""
    shape, prompt = observation_space["input_ids"].shape, observation_space.get("prompt_length")
    assert shape is not None
    return int(prompt.high[0]) if isinstance(prompt, spaces.Box) else int(shape[0])


def check_suppressed(tokens: tuple[int, ...], actions: int) -> None:
    """Refuse ids that are no actions, and all of them together."""
    if outside := sorted(token for token in tokens if not 0 <= token < actions):
        raise ValueError(
            f"expected suppress_tokens from 0 to {actions - 1}, got {outside[0]}; use ids of the model's tokenizer"
        )
    if len(set(tokens)) == actions:
        raise ValueError(f"expected a token that is not suppressed, got all {actions} suppressed; leave some out")


def check_tokenizer(model: TextModel, action_space: object) -> None:
    """Refuse a model whose ids mean other texts than the actions of the environment."""
    if not isinstance(action_space, TokenSpace) or model.source is None:
        return
    tokenizer = model.tokenizer
    if tokenizer.fingerprint != action_space.fingerprint:
        raise TokenizerMismatchError(
            f"expected a model with the environment's tokenizer {action_space.tokenizer!r}, got {model.source!r} with "
            f"another one; make the environment with model={model.source!r}"
        )
