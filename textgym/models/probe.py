"""What a network does, found by calling it on a few tokens: no signature is read, because releases rename arguments."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from textgym.errors import ModelError

CACHE_NAMES = ("cache", "past_key_values")  # what releases of transformers call the argument, newest first
_OPTIONAL = ("position_ids", "use_cache")
_TOKENS = 4


class Arguments(NamedTuple):
    """What a trunk can be called with, besides ``input_ids``.

    Attributes:
        plain: Of ``position_ids`` and ``use_cache``, those that it takes.
        cache: The argument that takes a cache, which was really filled; ``None`` if there is none.
        positions_count: Whether other positions give other states.
    """

    plain: frozenset[str]
    cache: str | None
    positions_count: bool


@torch.no_grad()
def find_arguments(trunk: Any, config: Any, device: torch.device, vocabulary: int) -> Arguments:
    """Find out by calling ``trunk`` on a few tokens.

    Raises:
        ModelError: If it cannot be called with token ids alone.
    """
    ids = (torch.arange(_TOKENS, device=device) % vocabulary)[None]
    positions = torch.arange(_TOKENS, device=device)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = _plain_arguments(trunk, ids, positions)
        states = _try(trunk, ids, _offer(plain, positions))
        stretched = _try(trunk, ids, _offer(plain, positions * 2))
        counts = stretched is not None and states is not None and not torch.equal(states, stretched)
        cache = next((name for name in CACHE_NAMES if _is_filled(trunk, config, ids, positions, plain, name)), None)
    return Arguments(plain, cache, counts and "position_ids" in plain)


def _plain_arguments(trunk: Any, ids: Tensor, positions: Tensor) -> frozenset[str]:
    for size in range(len(_OPTIONAL), -1, -1):
        for names in combinations(_OPTIONAL, size):
            if _try(trunk, ids, _offer(frozenset(names), positions)) is not None:
                return frozenset(names)
    try:
        trunk(input_ids=ids)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"expected a causal LM that reads token ids, got {type(trunk).__name__}, which cannot be called with "
            f"them alone ({reason}); load a *ForCausalLM"
        ) from error
    return frozenset()


def _offer(names: frozenset[str], positions: Tensor) -> dict[str, Any]:
    values = {"position_ids": positions, "use_cache": False}
    return {name: values[name] for name in _OPTIONAL if name in names}


def _try(trunk: Any, ids: Tensor, arguments: dict[str, Any]) -> Tensor | None:
    """States (1, T, H), or ``None`` where the trunk does not take the arguments."""
    try:
        states: Tensor = trunk(input_ids=ids, **arguments)[0]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # another library's code: what it raises is not ours to choose
        return None
    return states


def _is_filled(trunk: Any, config: Any, ids: Tensor, positions: Tensor, plain: frozenset[str], name: str) -> bool:
    """Does a cache that is given under ``name`` hold all tokens afterwards?"""
    cache = DynamicCache(config=config)
    arguments = _offer(plain, positions) | {"use_cache": True, name: cache}
    if _try(trunk, ids, arguments) is None:
        return False
    try:
        return cache.get_seq_length() == ids.shape[1]
    except (ValueError, RuntimeError, AttributeError):  # a cache without keys and values has no length
        return False
