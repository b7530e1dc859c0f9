"""Noise of training mode, switched off: a sampled token must be scored by the distribution it was drawn from.

Dropout is off by its probabilities. What else differs between the modes (jitter of routers, dropped layers, statistics
of batches) is found by computing: modules of a kind that makes a difference stay in evaluation mode whatever mode the
network is in. Transformers recomputes activations in training mode only, so the other modules do take part in it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from textgym.models.probing.probe import attempt
from textgym.values import attribute_of

_ORIGINALS = "_textgym_original_rates"
_TRIES = 3
_MORE_TRIES = 12  # where random numbers were drawn, and rarely change anything


def switch_off_dropout(network: nn.Module) -> list[tuple[object, str, float]]:
    """Set every dropout probability to zero, in modules and where modules read it from their configuration.

    What configurations said is kept on the network, for whoever comes later and finds zeros.

    Returns:
        Changes of configurations, now or before: (configuration, name, value).
    """
    before: list[tuple[object, str, float]] = vars(network).get(_ORIGINALS, [])
    changed = {(id(config), name): (config, name, value) for config, name, value in before}
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        config = attribute_of(module, "config")
        for owner in (module, config):
            for name, value in vars(owner).items() if owner is not None else ():
                if "drop" in name and isinstance(value, float) and value:
                    setattr(owner, name, 0.0)
                    if owner is config:
                        changed[id(config), name] = config, name, value
    setattr(network, _ORIGINALS, list(changed.values()))
    return list(changed.values())


def noisy_kinds(module: nn.Module, compute: Callable[[], Tensor]) -> list[type]:
    """Kinds of submodules that give ``compute``, which calls ``module``, other results or errors in training mode.

    Returns:
        The kinds; with them in evaluation mode it is equal to the last bit, unless only some together make noise.
    """
    with modes_kept(module):
        set_mode(module, False)
        quiet = compute()
        if not _differs(module, compute, quiet, lambda part: True):
            return []
        kinds = list(dict.fromkeys(type(part) for part in module.modules()))
        return [kind for kind in kinds if _differs(module, compute, quiet, lambda part, kind=kind: type(part) is kind)]  # type: ignore[misc]


def is_quiet(module: nn.Module, compute: Callable[[], Tensor], quiet: Tensor, silenced: tuple[type, ...]) -> bool:
    """Return whether training mode without ``silenced`` kinds gives the bits of evaluation mode, ``quiet``."""
    with modes_kept(module):
        return not _differs(module, compute, quiet, lambda part: type(part) not in silenced, tries=1)


def _differs(
    module: nn.Module,
    compute: Callable[[], Tensor],
    quiet: Tensor,
    trains: Callable[[nn.Module], bool],
    tries: int = _TRIES,
) -> bool:
    for part in module.modules():
        part.training = trains(part)
    for number in range(_MORE_TRIES if tries > 1 else 1):
        before, states, after = torch.get_rng_state(), attempt(compute).value, torch.get_rng_state()
        if states is None or not torch.equal(states, quiet):
            return True
        draws = not torch.equal(before, after)
        if draws and not torch.equal(_after_again(compute, before), after):
            return True  # it seeds the generator with what no seed of a run repeats
        if number + 1 >= tries and not draws:
            return False
    return False


def _after_again(compute: Callable[[], Tensor], before: Tensor) -> Tensor:
    """The generator's state after ``compute`` from a state of before."""
    torch.set_rng_state(before)
    attempt(compute)
    return torch.get_rng_state()


def gradients_fail(module: nn.Module, compute: Callable[[], Tensor], silenced: tuple[type, ...]) -> Exception | None:
    """Return the error of differentiating results of ``compute`` as an update does it; ``None`` if there is none.

    Args:
        module: Is called by ``compute``.
        compute: Has a result of any shape.
        silenced: Kinds that stay in evaluation mode; all, if one is ``nn.Module``.
    """
    weight = next((each for each in module.parameters() if each.requires_grad and each.is_floating_point()), None)
    if weight is None:  # it is frozen
        return None
    with modes_kept(module), torch.enable_grad():
        set_mode(module, nn.Module not in silenced, silenced)
        return attempt(lambda: torch.autograd.grad(compute().sum(), weight, allow_unused=True)).error


def set_mode(module: nn.Module, training: bool, silenced: tuple[type, ...] = ()) -> None:
    """Switch the mode of all parts; those of ``silenced`` kinds stay in evaluation mode."""
    module.train(training)
    if training and silenced:
        for part in module.modules():
            if type(part) in silenced:
                part.training = False


@contextlib.contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Put every part's mode back after the block."""
    before = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextlib.contextmanager
def random_states_kept(seed: int = 0) -> Iterator[None]:
    """Run the block with generators of its own: probing must not change what a seeded run draws."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []):
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
