"""A model that decodes in bf16 without casting its weights at every token."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from textgym.models.decoding import cuda_graph
from textgym.models.decoding.fused_norm import fuse_norms
from textgym.models.text_model import TextModel


class DecodingCopy:
    """``model`` again, with the weights and biases of its matrix products in bf16 and everything else shared.

    Autocast casts every weight in every forward pass. An update does so once for many tokens; a decoding step, which
    reads each weight for one token per row, would take several times as long as reading takes. The cast weights are the
    same, so the numbers are too. A model in fp32, or one whose weights are bf16 already, is used as it is.

    Where steps are recorded, one is as long as its kernels are many: normalizations are computed by one each.

    Attributes:
        current: Network to decode with; as new as the last :meth:`refresh`.
    """

    def __init__(self, model: TextModel) -> None:
        self.model, self.current = model, model
        self._copy: TextModel | None = None
        self._made_of: list[object] = []
        self._casts: list[tuple[Tensor, Tensor]] = []  # (parameter, its values in bf16)

    @torch.no_grad()
    def refresh(self) -> TextModel:
        """Take over the present weights; returns :attr:`current`."""
        self.current = self.model
        if self.model.precision == "bf16" and not self.model.adapter_is_off:
            parts = _parts(self.model)
            if self._copy is None or parts != self._made_of:
                self._copy, self._casts = self._build()
                self._made_of = parts
            for parameter, cast in self._casts:
                cast.copy_(parameter)
            self.current = self._copy
        return self.current

    def _build(self) -> tuple[TextModel, list[tuple[Tensor, Tensor]]]:
        shared = [*self.model.parameters(), *self.model.buffers(), self.model._tokenizer]
        twin = copy.deepcopy(self.model, {id(item): item for item in shared})
        casts: list[tuple[Tensor, Tensor]] = []
        for module, double in zip(self.model.modules(), twin.modules(), strict=True):
            if isinstance(module, nn.Linear | Conv1D) and module.weight.is_floating_point():
                for name, parameter in module.named_parameters(recurse=False):
                    cast = torch.empty_like(parameter, dtype=torch.bfloat16)
                    setattr(double, name, nn.Parameter(cast, requires_grad=False))
                    casts.append((parameter, cast))
        if cuda_graph.replays(self.model.device):
            with twin.autocast():
                fuse_norms(twin.network)
        return twin, casts


def _parts(model: TextModel) -> list[object]:
    """Return the parts of a copy; a new one is due where an object, a type, a device or an adapter's state differs."""
    tensors = [(id(tensor), tensor.dtype, tensor.device) for tensor in (*model.parameters(), *model.buffers())]
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "merged_adapters")]
    adapters = [(tuple(layer.merged_adapters), layer.disable_adapters, str(layer.active_adapters)) for layer in layers]
    hooks = [(tuple(module._forward_hooks), tuple(module._forward_pre_hooks)) for module in model.modules()]
    return [*tensors, *adapters, *hooks]
