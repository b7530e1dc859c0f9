"""Acting with a bare language model: the next token of texts under way, from what it has read of them before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.cache_pool import CachePool
from textgym.agents.common.observations import read_ids, to_tensors
from textgym.models.decoding.sampling import sample_tokens
from textgym.models.text_model import TextModel
from textgym.types import IntArray


class TokenWriter:
    """Chooses next tokens with a model, at temperature 1.

    Args:
        model: Read at every call; its weights may change between calls.
    """

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self._caches = CachePool(model)

    @torch.no_grad()
    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text; arguments as in :meth:`~textgym.types.Agent.act`."""

        def choose(states: Tensor) -> tuple[Tensor]:
            logits = self.model.logits(states)  # (n, V)
            return (logits.argmax(-1) if greedy else sample_tokens(logits, generator).tokens,)

        (tokens,) = self._caches.act(read_ids(to_tensors(observations)), choose)
        return tokens.numpy()

    def forget(self) -> None:
        """Give the memory back that earlier texts take."""
        self._caches.clear()
