"""Whether a model still computes what something was computed with: its weights, buffers, modules and hooks."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from textgym.models.text_model import TextModel

_PROBED = 8  # values of each parameter that are compared


class _OptimizerSteps:
    """Counts the steps that optimizers make while it exists."""

    def __init__(self) -> None:
        self.count = 0
        register_optimizer_step_post_hook(self._add)

    def _add(self, *_: object) -> None:
        self.count += 1


@functools.cache
def _optimizer_steps() -> _OptimizerSteps:
    """The one counter, made with the first watch.

    Fused optimizers change weights without bumping tensor versions, so versions alone would miss an update.
    """
    return _OptimizerSteps()


class WeightsWatch:
    """Notices that weights were updated, replaced or moved, adapters switched or hooks added, since it was made.

    It is asked at every token, so it looks at no module tree: it remembers which part every module held under which
    name. Buffers count as weights, unless the model writes into them itself whenever it computes. Hooks for all modules
    at once (``torch.nn.modules.module.register_module_forward_hook``) and other methods put in a module's place are not
    seen.

    Args:
        model: The language model.

    Attributes:
        probes: Views, 1-D, of a few values of every parameter: writes through ``parameter.data``, which nothing else
            tells, show in them.
    """

    def __init__(self, model: TextModel) -> None:
        self.model, self._steps = model, _optimizer_steps()
        self._parameters = list(model.parameters())
        constant = model.constant_buffers()
        self._watched = [*self._parameters, *constant]
        self._held = [(module, module._parameters, module._modules) for module in model.modules()]
        self._holders: list[dict[Any, Any]] = [module._parameters for module in model.modules()]
        known = set(map(id, constant))
        for module in model.modules():
            self._holders += [module._modules, module._forward_hooks, module._forward_pre_hooks]
            if all(buffer is None or id(buffer) in known for buffer in module._buffers.values()):
                self._holders.append(module._buffers)
        self._parts = [(holder, name, part) for holder in self._holders for name, part in holder.items()]
        self._version = self._read()
        self.probes = [_probe(parameter) for parameter in self._parameters if self._is_probed(parameter)]

    def sees_change(self) -> bool:
        """Return whether anything is different, writes through ``parameter.data`` aside."""
        return not self._holds_the_same() or self._read() != self._version

    def _holds_the_same(self) -> bool:
        if any(module._parameters is not own or module._modules is not below for module, own, below in self._held):
            return False
        return sum(map(len, self._holders)) == len(self._parts) and all(
            holder.get(name) is part for holder, name, part in self._parts
        )

    def _read(self) -> tuple[int, ...]:
        versions = sum(tensor._version for tensor in self._watched)
        return self._steps.count, versions, addresses(self._parameters), int(self.model.adapter_is_off)

    def _is_probed(self, parameter: Tensor) -> bool:
        # Quantized and offloaded weights are left out: they cannot be joined with the others, nor change by training.
        joinable = parameter.is_floating_point() and parameter.itemsize > 1 and parameter.device == self.model.device
        return joinable and parameter.numel() > 0


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
