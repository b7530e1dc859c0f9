"""Detection of changes to a model since a computation: its weights, buffers, modules and hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textgym.models.optimizer_state import optimizer_tensors
from textgym.models.text_model import TextModel

_PROBED = 8  # values of each parameter that are compared


class WeightsWatch:
    """Notices that weights were updated, replaced or moved, adapters switched or hooks added, since it was made.

    It is asked at every token, so it looks at no module tree: it remembers which part every module held under which
    name. Buffers count as weights, unless the model writes into them itself whenever it computes. Hooks for all modules
    at once (``torch.nn.modules.module.register_module_forward_hook``) and other methods put in a module's place are not
    seen.

    What bumps no version counter, as writes through ``parameter.data`` and steps of fused optimizers, shows in a few
    values of every parameter, which are compared on the device (:meth:`probes_changed`).

    Args:
        model: The language model.
        optimizer: One whose moments count too. They tell of a step that left all weights as they were.
    """

    def __init__(self, model: TextModel, optimizer: Optimizer | None = None) -> None:
        self.model, self._optimizer = model, optimizer
        self._parameters = list(model.parameters())
        constant = model.constant_buffers()
        self._watched = [*self._parameters, *constant]
        self._held = [(module, module._parameters, module._modules) for module in model.modules()]
        known = set(map(id, constant))
        holders = [holder for module in model.modules() for holder in _holders(module, known)]
        self._empty = [holder for holder in holders if not holder]  # most of them
        self._holders = [holder for holder in holders if holder]
        self._parts = [(holder, name, part) for holder in self._holders for name, part in holder.items()]
        self._version = self._read()
        self._probes = [_probe(parameter) for parameter in self._parameters if self._is_probed(parameter)]
        self._values = torch.cat(self._probes)
        self._moments = self._read_moments()

    def has_changed(self) -> bool:
        """Return whether anything is different; on a GPU this waits for what was computed before."""
        return self.sees_change() or bool(self.probes_changed()) or self._moments_changed()

    def probes_changed(self) -> Tensor:
        """Return whether one of the values that are compared is another; a scalar on the model's device."""
        return (torch.cat(self._probes) != self._values).any()

    def sees_change(self) -> bool:
        """Return whether anything is different that can be told without looking at values: that needs no device."""
        return not self._holds_the_same() or self._read() != self._version

    def _holds_the_same(self) -> bool:
        if any(self._empty):
            return False
        if any(module._parameters is not own or module._modules is not below for module, own, below in self._held):
            return False
        return sum(map(len, self._holders)) == len(self._parts) and all(
            holder.get(name) is part for holder, name, part in self._parts
        )

    def _read(self) -> tuple[int, ...]:
        versions = sum(tensor._version for tensor in self._watched)
        return versions, addresses(self._parameters), int(self.model.adapter_is_off)

    def _read_moments(self) -> dict[str, Tensor]:
        """The numbers that the optimizer keeps: the first of each tensor, which any step with a gradient changes."""
        kept = {} if self._optimizer is None else optimizer_tensors(self._optimizer)
        return {name: tensor.detach().flatten()[:_PROBED].clone() for name, tensor in kept.items()}

    def _moments_changed(self) -> bool:
        now = self._read_moments()
        return now.keys() != self._moments.keys() or any(
            not torch.equal(tensor, self._moments[name]) for name, tensor in now.items()
        )

    def _is_probed(self, parameter: Tensor) -> bool:
        # Quantized and offloaded weights are left out: they cannot be joined with the others, nor change by training.
        joinable = parameter.is_floating_point() and parameter.itemsize > 1 and parameter.device == self.model.device
        return joinable and parameter.numel() > 0


def _holders(module: nn.Module, constant: Collection[int]) -> list[dict[object, object]]:
    """The dictionaries in which a module keeps its parts; that of buffers only if all are ``constant``, by id."""
    found = [module._parameters, module._modules, module._forward_hooks, module._forward_pre_hooks]
    if all(buffer is None or id(buffer) in constant for buffer in module._buffers.values()):
        found.append(module._buffers)
    return cast("list[dict[object, object]]", found)


def addresses(parameters: Iterable[Tensor]) -> int:
    """A value that changes when one of them moves in memory."""
    return hash(tuple(parameter.data_ptr() for parameter in parameters))


def _probe(parameter: Tensor) -> Tensor:
    """A view of a few values in the middle."""
    row = parameter.detach().unsqueeze(0)
    while row.ndim > 1:
        row = row.select(0, len(row) // 2)
    middle = len(row) // 2
    return row[middle : middle + _PROBED]
