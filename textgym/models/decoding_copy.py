"""A model that decodes in bf16 without casting its weights at every token."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from textgym.models.language_model import LanguageModel


class DecodingCopy:
    """``model`` again, with the weights of its matrix products in bf16 and everything else shared.

    Autocast casts every weight in every forward pass. An update does so once for many tokens; a decoding step, which
    reads each weight for one token per row, would take several times as long as reading takes. The cast weights are the
    same, so the numbers are too. A model in fp32, or one whose weights are bf16 already, is used as it is.

    Attributes:
        current: What to decode with; as new as the last :meth:`refresh`.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.current = model, model
        self._copy: LanguageModel | None = None
        self._parameters: list[nn.Parameter] = []
        self._casts: list[tuple[Tensor, Tensor]] = []  # (weight, its copy in bf16)

    @torch.no_grad()
    def refresh(self) -> LanguageModel:
        """Take over the present weights; returns :attr:`current`."""
        self.current = self.model
        if self.model.precision == "bf16" and not self.model.adapter_is_off:
            parameters = list(self.model.parameters())
            # The shared ones are shared as objects, so that objects that were replaced mean a new copy.
            if self._copy is None or any(a is not b for a, b in zip(parameters, self._parameters, strict=False)):
                self._copy, self._casts = self._build(parameters)
                self._parameters = parameters
            for weight, cast in self._casts:
                cast.copy_(weight)
            self.current = self._copy
        return self.current

    def _build(self, parameters: list[nn.Parameter]) -> tuple[LanguageModel, list[tuple[Tensor, Tensor]]]:
        shared = [*parameters, *self.model.buffers(), self.model._tokenizer]
        twin = copy.deepcopy(self.model, {id(item): item for item in shared})
        casts = []
        for module in twin.modules():
            if isinstance(module, nn.Linear | Conv1D) and module.weight.dtype == torch.float32:
                weight = module.weight.detach()
                module.weight = nn.Parameter(torch.empty_like(weight, dtype=torch.bfloat16), requires_grad=False)
                casts.append((weight, module.weight.detach()))
        return twin, casts
