"""Texts continued, several tokens at once and with gradients, from the keys and values of beginnings they share."""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from textgym.errors import ModelError
from textgym.values import attribute_of


class Decoder(Protocol):
    """The network that computes keys and values: a language model, or the trunk of one that is probed."""

    @property
    def can_be_recorded(self) -> bool:
        """Return whether a step may be recorded as a CUDA graph."""

    def stop_recording(self) -> None:
        """Let :attr:`can_be_recorded` be false from now on."""

    @property
    def precision(self) -> str:
        """The type that products are computed in, ``"fp32"`` or ``"bf16"``."""

    @property
    def config(self) -> PreTrainedConfig:
        """Hugging Face configuration of the text model."""

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""

    def token_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """States (B, T, H)."""

    def attention_mask(self, visible: Tensor) -> Tensor:
        """Return the mask that :meth:`token_states` takes for "query q sees key k": (B, Q, K) -> (B, 1, Q, K)."""


class Prompts(NamedTuple):
    """The distinct beginnings of the texts of a batch.

    Attributes:
        input_ids: (U, P) right-padded ids.
        which: (E,) the beginning of each text.
        lengths: (E,) its tokens.
        rest: Most tokens that a text has after it.
    """

    input_ids: Tensor
    which: Tensor
    lengths: Tensor
    rest: int


def continued(model: Decoder, input_ids: Tensor, prompts: Prompts) -> Tensor:
    """States (E, 1 + R, H) of the last token of each text's beginning and of all that follow.

    Args:
        model: Computes them.
        input_ids: (E, T) right-padded ids of the whole texts.
        prompts: Prompts that the texts begin with.
    """
    cache = DynamicCache(config=model.config)
    of_prompts = model.token_states(prompts.input_ids, cache=cache)  # (U, P, H)
    ends = of_prompts[torch.arange(len(of_prompts), device=input_ids.device), _of_each(prompts) - 1]  # (U, H)
    last = copied(ends, prompts.which)[:, None]
    if prompts.rest == 0:
        return last
    for layer in filled_layers(cache, prompts.input_ids.shape[1]):
        layer.keys, layer.values = copied(layer.keys, prompts.which), copied(layer.values, prompts.which)
    steps = torch.arange(prompts.rest, device=input_ids.device)
    positions = (prompts.lengths[:, None] + steps).clamp(max=input_ids.shape[1] - 1)  # (E, R)
    columns = torch.arange(prompts.input_ids.shape[1], device=input_ids.device)
    before = (columns < prompts.lengths[:, None])[:, None].expand(-1, prompts.rest, -1)  # (E, R, P)
    after = (steps <= steps[:, None]).expand(len(input_ids), -1, -1)  # (E, R, R)
    mask = model.attention_mask(torch.cat([before, after], 2))
    following = model.token_states(input_ids.gather(1, positions), mask, positions, cache)
    return torch.cat([last, following], 1)


def _of_each(prompts: Prompts) -> Tensor:
    """Tokens (U,) of each beginning, all of which some text has."""
    return torch.zeros_like(prompts.input_ids[:, 0]).scatter_(0, prompts.which, prompts.lengths)


def copied(parts: Tensor, which: Tensor) -> Tensor:
    """Copy rows of ``parts`` (U, ...), so that gradients add up in the same order every time: (E, ...).

    Of the two ways to pick rows, one adds them up in any order on a CPU with several threads, the other on a GPU.
    """
    if len(parts) == 1:
        return parts.expand(len(which), *parts.shape[1:])
    return parts[which] if parts.is_cuda else parts.index_select(0, which)


class FilledLayer(Protocol):
    """A layer of a cache: keys and values, (B, heads, tokens, depth)."""

    keys: Tensor
    values: Tensor


def filled_layers(cache: DynamicCache, tokens: int) -> list[FilledLayer]:
    """The layers of a cache.

    Raises:
        ModelError: If one holds something else than keys and values of ``tokens`` tokens.
    """
    for number, layer in enumerate(cache.layers):
        keys, values = (attribute_of(layer, name) for name in ("keys", "values"))
        held = [part.shape[-2] if isinstance(part, Tensor) and part.ndim == 4 else 0 for part in (keys, values)]
        if held != [tokens, tokens] or not isinstance(layer, DynamicLayer):
            raise ModelError(
                f"expected keys and values of {tokens} tokens in layer {number}, got {held[0] or 'none'} in a "
                f"{type(layer).__name__}; use the model without a cache"
            )
    return cast(list[FilledLayer], cache.layers)
