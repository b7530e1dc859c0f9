"""Acting with a bare language model: the next token of texts under way, from what it has read of them before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
        logits: How logits (n, V) follow from states (n, H), where it is not ``model.logits``.
    """

    def __init__(self, model: TextModel, logits: Callable[[Tensor], Tensor] | None = None) -> None:
        self.model, self._logits = model, logits or model.logits
        self._caches = CachePool(model)

    @torch.no_grad()
    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text; arguments as in :meth:`~textgym.types.Agent.act`."""
        texts = read_ids(to_tensors(observations, self.model.device))
        logits = self._logits(self._caches.hidden(texts))  # (n, V)
        tokens = logits.argmax(-1) if greedy else sample_tokens(logits, generator).tokens
        return tokens.cpu().numpy()

    def forget(self) -> None:
        """Give the memory back that earlier texts take."""
        self._caches.clear()
