"""A narrow copy of a network: same class and configuration, few heads and layers, weights that show mistakes.

Windows, chunks and scalings that switch with length lie in the code and the configuration, not in the weights, so a
copy that costs nothing shows what the network does with texts as long as a run's. Head dimensions stay (rotations and
their tables depend on them) and so does one whole period of the layers' pattern; widths, numbers of heads and the
vocabulary are divided. Which fields those are is guessed by name; whether the guess was right is seen when the copy is
built and run, and a network that cannot be copied so is copied as it is, if it is small.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from transformers import PreTrainedConfig

from textgym.errors import ModelError
from textgym.models.probing.probe import attempt
from textgym.models.probing.trunk import Trunk
from textgym.values import attribute_of, is_whole

_DIVIDED = ("hidden_size", "n_embd", "d_model", "embed", "_heads", "n_head")
_CUT = {"intermediate": 64, "ffn": 64, "d_ff": 64, "n_inner": 64, "experts": 16}  # at most
_DEFAULT_INNER = ("n_inner", "intermediate_size")  # where these are None, networks take four times their width
_KEPT = ("per_", "head_dim", "max_position", "shared_experts")
_VOCABULARY = 64
_FEW_LAYERS = 4
_LONGEST_PERIOD = 8
_SMALL = 2_000_000  # parameters: what need not be made narrower
_LARGEST = 50_000_000  # and what is too large to probe with


def narrow_copy(trunk: Trunk) -> tuple[Trunk, range]:
    """A narrow copy in fp32 on the CPU with the ids it reads.

    Its weights are as small as those a network begins with (:func:`enlarge_weights`).

    Raises:
        ModelError: There is none; the message says why.
    """
    reasons = []
    for config in _narrower(trunk.config, _size(trunk.module)):
        built = attempt(build, trunk, config)
        if built.value is not None:
            size = int(config.vocab_size)
            return Trunk(built.value, config, bare_arguments=trunk.bare_arguments), readable_ids(config, size)
        reasons.append(built.reason[:200])
    twin = _twin(trunk)
    if twin is None:
        raise ModelError("; ".join(dict.fromkeys(reasons)) or "it is too large")
    return twin


def readable_ids(config: PreTrainedConfig, vocabulary: int) -> range:
    """Ids that are no special ones: those of images, say, stand for something else."""
    third = range(vocabulary // 3, max(vocabulary // 3 + 2, 2 * vocabulary // 3))
    pad = attribute_of(config, "pad_token_id")
    return range(pad + 1, max(third.stop, pad + 3)) if is_whole(pad) and pad in third else third


@torch.no_grad()
def enlarge_weights(module: nn.Module) -> None:
    """Scale every matrix to outputs as large as its inputs: networks begin with weights that hide mistakes."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for parameter in module.parameters():
        size = float(parameter.float().square().mean().sqrt()) if parameter.numel() else 0.0
        if parameter.ndim > 1 and parameter.is_floating_point() and 0 < size < math.inf:
            wanted = 1.0 if id(parameter) in tables else min(parameter.shape[-2:]) ** -0.5
            parameter.mul_(wanted / size)


def build(trunk: Trunk, config: PreTrainedConfig) -> nn.Module:
    """A module in fp32 of the trunk's class, with new weights, after it has read two tokens.

    Raises:
        Exception: Of whatever class, where the class cannot be built with this configuration.
        ValueError: It would be too large.
    """
    kind: Callable[[PreTrainedConfig], nn.Module] = type(trunk.module)
    with torch.device("meta"):
        size = _size(kind(copy.deepcopy(config)))
    if size > _LARGEST:
        raise ValueError(f"a copy would have {size} parameters")
    module = kind(config).float().eval()
    with torch.no_grad():
        module(input_ids=torch.tensor([list(readable_ids(config, int(config.vocab_size)))[:2]]), **trunk.bare_arguments)
    return module


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _twin(trunk: Trunk) -> tuple[Trunk, range] | None:
    """A copy of a small module as it is."""
    if _size(trunk.module) > _SMALL:
        return None
    module = attempt(copy.deepcopy, trunk.module).value
    if module is None:
        return None
    module = module.to("cpu").float().eval()
    twin = Trunk(module, trunk.config, bare_arguments=trunk.bare_arguments)
    return twin, readable_ids(trunk.config, int(trunk.config.vocab_size))


def _narrower(config: PreTrainedConfig, parameters: int) -> Iterator[PreTrainedConfig]:
    """Configurations to try, the narrowest first."""
    if parameters <= _SMALL:
        yield copy.deepcopy(config)
        return
    for divides, shrinks_vocabulary in ((True, True), (True, False), (False, True), (False, False)):
        changed = copy.deepcopy(config)
        if attempt(_shrink, changed, divides, shrinks_vocabulary).error is None:
            yield changed


def _shrink(config: PreTrainedConfig, divides: bool, shrinks_vocabulary: bool) -> None:
    _drop_layers(config)
    if divides:
        for name in _DEFAULT_INNER:
            if getattr(config, name, 0) is None:
                setattr(config, name, _CUT["intermediate"])
        factor = _factor(config)
        for name, value in list(vars(config).items()):
            if is_whole(value) and not any(part in name for part in _KEPT):
                setattr(config, name, _narrowed(name, value, factor))
    if shrinks_vocabulary:
        config.vocab_size = _VOCABULARY
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            value = attribute_of(config, name)
            if not is_whole(value) or value >= _VOCABULARY:
                setattr(config, name, None)


def _narrowed(name: str, value: int, factor: int) -> int:
    """Return the narrow copy's value for a number of the configuration."""
    if most := next((size for part, size in _CUT.items() if part in name), None):
        return min(value, most)
    return value // factor if value % factor == 0 and any(part in name for part in _DIVIDED) else value


def _factor(config: PreTrainedConfig) -> int:
    """Return the divisor of the numbers of heads that leaves at least two."""
    heads = int(config.num_attention_heads)
    shared = math.gcd(heads, int(attribute_of(config, "num_key_value_heads") or heads))
    divisors = [number for number in range(1, shared + 1) if shared % number == 0 and 2 * number <= heads]
    return max(divisors) if len(divisors) > 1 or heads != shared else heads  # a prime number of heads: one is left


def _drop_layers(config: PreTrainedConfig) -> None:
    """Keep one period of what differs from layer to layer; without such lists, the first few layers."""
    total = int(config.num_hidden_layers)
    lists = {name: value for name, value in vars(config).items() if isinstance(value, list) and len(value) == total}
    numbers = {name: value for name, value in lists.items() if value == list(range(total))}  # layers by their places
    lists = {name: value for name, value in lists.items() if name not in numbers}
    kinds = [tuple(repr(value[layer]) for value in lists.values()) for layer in range(total)]
    kept = _period(kinds) if lists else list(range(min(total, _FEW_LAYERS)))
    for name, value in lists.items():
        setattr(config, name, [value[layer] for layer in kept])
    for name in numbers:
        setattr(config, name, list(range(len(kept))))
    config.num_hidden_layers = len(kept)


def _period(kinds: list[tuple[str, ...]]) -> list[int]:
    """The first period of a pattern, at least two layers; one layer of each kind where there is none that is short."""
    for size in range(2, min(len(kinds), _LONGEST_PERIOD) + 1):
        if all(kind == kinds[place % size] for place, kind in enumerate(kinds)):
            return list(range(size))
    return [kinds.index(kind) for kind in dict.fromkeys(kinds)]
