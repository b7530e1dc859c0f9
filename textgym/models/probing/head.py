"""The architecture behind the head: logits are the head's output, scaled or softly capped, or something else.

The form is computed: the trunk's states are replaced by ones of several sizes, and the network's logits are compared
with what its head gives for them. Names in configurations are not asked, only numbers: a factor that was fitted is
taken from there where one is equal to it up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from textgym.errors import ModelError
from textgym.values import attribute_of, is_number, walk

_LARGE = 1e4  # of the head's output: far beyond every cap that a model of language would have, and within fp16
_SMALL = 1e-5


_Output = tuple[Tensor, ...] | ModelOutput  # of a trunk: its states come first


@dataclass(frozen=True)
class LogitForm:
    """Logits = ``cap * tanh(x / cap)`` (or ``x``) of ``x = head(states) * multiplier / divisor``."""

    multiplier: float = 1.0
    divisor: float = 1.0
    cap: float | None = None

    def __call__(self, plain: Tensor) -> Tensor:
        """Shape the head's output, (..., V)."""
        logits = plain
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.divisor != 1.0:
            logits = logits / self.divisor
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits


class _Head(Protocol):
    """The function from states to logits."""

    weight: Tensor

    def __call__(self, states: Tensor, /) -> Tensor: ...


class Reading(NamedTuple):
    """The states of one call of a network, and the form of its logits.

    Attributes:
        states: (B, T, H), as the trunk gave them.
        form: How its logits follow from its head; ``None`` if in no known way.
    """

    states: Tensor
    form: LogitForm | None


def rows_of(network: PreTrainedModel) -> dict[str, int]:
    """Return how many ids a network tells apart in its output and, if they are looked up in a table, in its input."""
    rows = {"output": int(network.get_output_embeddings().weight.shape[0])}
    try:
        table = network.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # some architectures do not say
        return rows
    return rows | {"input": int(table.weight.shape[0])} if isinstance(table, nn.Embedding) else rows


def read_network(
    network: PreTrainedModel, trunk: nn.Module, input_ids: Tensor, arguments: Mapping[str, object]
) -> Reading:
    """Call ``network`` on ids (3, T), and further arguments, and find what it does with its trunk's states.

    The first row's states go to the head as they are, the second's and third's made small and large.

    Raises:
        ModelError: The network does not compute its logits from this trunk.
    """
    head, seen = network.get_output_embeddings(), []

    def replace(_module: nn.Module, _arguments: object, output: _Output) -> _Output | None:
        states = output[0]
        if not (isinstance(states, Tensor) and states.ndim == 3 and states.shape[:2] == input_ids.shape):
            return None  # some other part of the network's
        offered = _resized(states, head)
        seen.append((states, offered))
        return _with_states(output, offered)

    handle = trunk.register_forward_hook(replace)
    try:
        output = network(input_ids=input_ids, **arguments)
    finally:
        handle.remove()
    logits = attribute_of(output, "logits")
    if len(seen) != 1 or not isinstance(logits, Tensor):
        raise _unknown(network)
    states, offered = seen[0]
    if offered.shape[-1] != head.weight.shape[1]:
        return Reading(states, None)
    plain = head(offered.to(head.weight.dtype))
    if logits.shape[:-1] != plain.shape[:-1] or logits.shape[-1] > plain.shape[-1]:
        return Reading(states, None)
    return Reading(states, fit_form(plain[..., : logits.shape[-1]], logits, network.config))


def fit_form(plain: Tensor, logits: Tensor, config: PreTrainedConfig) -> LogitForm | None:
    """The form that turns the head's output (3, T, V) into logits; rows are plain, small and large ones."""
    wide = plain.double(), logits.double()
    tolerance = 1e-4 if logits.dtype in (torch.float32, torch.float64) else 3e-2
    factor = _factor(wide[0][1], wide[1][1])
    if factor is None:
        return None
    numbers = [1.0, *numbers_in(config.to_dict())]
    numbers += [math.sqrt(number) for number in numbers if number > 1]  # a width's, as in T5
    scales = _scales(factor, numbers, tolerance)
    ceiling = float(wide[1][2].abs().max())
    caps = [None, *sorted(numbers, key=lambda number: abs(number - ceiling))[:2], ceiling]
    for cap in caps:
        for multiplier, divisor in scales:
            form = LogitForm(multiplier, divisor, cap)
            if (cap is None or cap > 0) and _agrees(form(wide[0]), wide[1], tolerance):
                return form
    return None


def _resized(states: Tensor, head: _Head) -> Tensor:
    """Rows (3, T, H) of which the second gives small values behind the head, and the third large ones."""
    if states.shape[-1] != head.weight.shape[1]:
        return states
    size = head(states[:, :1].to(head.weight.dtype)).float().abs().amax((1, 2)).clamp(min=1e-6)  # (3,)
    factors = torch.tensor([1.0, _SMALL, _LARGE], device=size.device) / size
    factors[0] = 1.0
    resized: Tensor = states * factors[:, None, None].to(states.dtype)
    return resized


def _with_states(output: _Output, states: Tensor) -> _Output:
    """``output`` of a trunk with other states in the first place."""
    if isinstance(output, tuple):
        return (states, *output[1:])
    output[next(iter(output.keys()))] = states  # a ModelOutput
    return output


def _factor(plain: Tensor, logits: Tensor) -> float | None:
    """Return the factor that small values were multiplied by: the slope of a fit through the origin."""
    square = float(plain.square().sum())
    factor = float((plain * logits).sum()) / square if square > 0 else 0.0
    return factor if factor != 0 and factor == factor else None


def _scales(factor: float, numbers: list[float], tolerance: float) -> list[tuple[float, float]]:
    """Multipliers and divisors that make up ``factor``, those that stand in the configuration first."""
    products = [(number, 1.0) for number in numbers if abs(number - factor) <= tolerance * abs(factor)]
    quotients = [(1.0, number) for number in numbers if number and abs(1 / number - factor) <= tolerance * abs(factor)]
    return [*products, *quotients, (factor, 1.0)]


def _agrees(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    size = theirs.abs().amax((1, 2)).clamp(min=1e-12)  # (3,): every row is compared at its own size
    return bool(((ours - theirs).abs().amax((1, 2)) <= tolerance * size).all())


def numbers_in(values: object) -> list[float]:
    """All numbers of a configuration, nested ones too."""
    return [float(value) for _, value in walk(values) if is_number(value)]


def _unknown(network: PreTrainedModel) -> ModelError:
    return ModelError(
        f"expected a causal LM that computes logits from the states of its decoder, got {type(network).__name__}, "
        "which does not; this architecture is not supported"
    )
