"""A network without its head, called the way it was found to take its arguments.

Signatures are not read: releases rename arguments, wrappers hide them, and ``**kwargs`` swallow what they do not know.
Which arguments work is found by calling (:mod:`textgym.models.probing.probe`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig, PreTrainedModel

CACHE_NAMES = ("cache", "past_key_values")  # what releases of transformers call the argument, newest first
PLAIN_SETS = (
    frozenset({"position_ids", "use_cache"}),
    frozenset({"position_ids"}),
    frozenset({"use_cache"}),
    frozenset[str](),
)

BARE_ARGUMENTS: tuple[dict[str, bool], ...] = ({"use_cache": False}, {})  # the first that works


@dataclass(frozen=True)
class Arguments:
    """The arguments of a trunk besides ``input_ids``.

    Attributes:
        plain: Names out of ``position_ids`` and ``use_cache`` that the trunk takes.
        cache: The argument that takes a cache; ``None`` if none was found to work.
    """

    plain: frozenset[str] = PLAIN_SETS[0]
    cache: str | None = None

    def of(self, position_ids: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> dict[str, object]:
        """Keyword arguments for one call; nothing is passed that is not needed."""
        offered: dict[str, object] = {"position_ids": position_ids, "use_cache": cache is not None}
        given = {name: value for name, value in offered.items() if name in self.plain}
        if attention_mask is not None:
            given["attention_mask"] = attention_mask
        if cache is not None and self.cache is not None:
            given[self.cache] = cache
        return given


class Trunk:
    """A trunk with its arguments, in the type its weights are held in: what probes and decoding call.

    Args:
        module: Takes ``input_ids`` (B, T); what it returns begins with the states (B, T, H).
        config: Hugging Face configuration of the text model.
        arguments: Arguments of every call.
        bare_arguments: Arguments of :meth:`bare` besides the ids.
    """

    precision = "fp32"
    can_be_recorded = False

    def __init__(
        self,
        module: nn.Module,
        config: PreTrainedConfig,
        arguments: Arguments | None = None,
        bare_arguments: dict[str, bool] | None = None,
    ) -> None:
        self.module, self.config, self.arguments = module, config, arguments or Arguments()
        self.bare_arguments = BARE_ARGUMENTS[0] if bare_arguments is None else bare_arguments

    def stop_recording(self) -> None:
        """Its steps are not recorded anyway."""

    def taking(self, **changes: Any) -> Self:
        """The same trunk with other arguments."""
        return type(self)(self.module, self.config, replace(self.arguments, **changes), self.bare_arguments)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = next(parameter for parameter in self.module.parameters() if parameter.is_floating_point())
        return weight

    def bare(self, input_ids: Tensor) -> Tensor:
        """States (B, T, H) of unpadded rows by the trunk's own defaults: what everything else is compared with."""
        states: Tensor = self.module(input_ids=input_ids, **self.bare_arguments)[0]
        return states

    def token_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """States (B, T, H); arguments as in :meth:`~textgym.models.causal_lm.CausalLM.token_states`."""
        if position_ids is None:
            position_ids = default_positions(input_ids)
        states: Tensor = self.module(input_ids=input_ids, **self.arguments.of(position_ids, attention_mask, cache))[0]
        return states

    def attention_mask(self, visible: Tensor) -> Tensor:
        """Return the mask that :meth:`token_states` takes for "query q sees key k": (B, Q, K) -> (B, 1, Q, K)."""
        return additive_mask(visible, self._weight.dtype)


def default_positions(input_ids: Tensor) -> Tensor:
    """0..T-1 for every row: (B, T) ids -> (B, T)."""
    return torch.arange(input_ids.shape[1], device=input_ids.device)[None].expand(len(input_ids), -1)


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, Q, K) booleans -> (B, 1, Q, K), 0 where a query sees a key and the smallest number elsewhere."""
    mask = visible[:, None]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def trunk_candidates(network: PreTrainedModel) -> list[nn.Module]:
    """Modules that may be the network without its head, likeliest first.

    Usually it is ``base_model``; in some architectures that is the network itself.
    """
    found = [network.base_model]
    with contextlib.suppress(AttributeError, NotImplementedError):  # some architectures do not say
        found.append(network.get_decoder())
    found += list(network.children())
    head = network.get_output_embeddings()
    kept: list[nn.Module] = []
    for module in found:
        known = any(module is other for other in (network, head, *kept))
        if isinstance(module, nn.Module) and not known and any(True for _ in module.parameters()):
            kept.append(module)
    return kept
