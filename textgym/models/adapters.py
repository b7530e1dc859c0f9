"""PEFT adapters read from their folder onto the base model that they name: safetensors only, no code from a folder."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from textgym.errors import CheckpointError, MissingExtraError, ModelError, is_out_of_memory
from textgym.hub import ADAPTER_CONFIG, read_adapter_config
from textgym.models.patterns import require_quick_patterns

_WEIGHTS = "adapter_model.safetensors"


def import_peft() -> ModuleType:
    """Import PEFT.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError.of("adapters (LoRA)", "peft", "lora") from error
    return peft


def attach_adapter(network: nn.Module, folder: Path) -> nn.Module:
    """Put the adapter in ``folder`` into the layers of ``network``, in place, to be trained.

    The folder was looked at before (:func:`~textgym.models.proportions.check_folder`).

    Returns:
        PEFT's wrapper around ``network``.

    Raises:
        CheckpointError: Weights of the adapter are missing, damaged, or of another base model; or a pattern in its
            configuration takes for ever.
        MissingExtraError: PEFT is not installed.
        ModelError: It is an adapter of a kind that does not live in layers (prompt and prefix tuning).
    """
    peft = import_peft()
    config = read_config(folder)
    _require_quick_patterns(folder, network)
    file = folder / _WEIGHTS
    try:
        stored = load_file(file)
        with without_noise():
            wrapper: nn.Module = peft.PeftModel.from_pretrained(network, str(folder), is_trainable=True, config=config)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"expected an adapter of {type(network).__name__} in {folder}, got one that does not fit "
            f"({' '.join(str(error).split())[:300]}); check base_model_name_or_path in {ADAPTER_CONFIG}"
        ) from error
    needed = set(peft.get_peft_model_state_dict(wrapper))
    if absent := sorted(needed - stored.keys()):
        raise CheckpointError(
            f"expected all weights of the adapter in {file}, got none for {len(absent)}: {', '.join(absent[:3])}; "
            "save the adapter again"
        )
    return wrapper


def read_config(folder: Path) -> Any:
    """Read the configuration of an adapter.

    Raises:
        CheckpointError: PEFT does not understand it.
        ModelError: It is of a kind that does not live in layers.
    """
    peft = import_peft()
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"expected the configuration of a PEFT adapter in {folder}, got {type(error).__name__}: {error}"
        ) from error
    if config.is_prompt_learning:
        raise ModelError(
            f"expected an adapter that lives in the layers (LoRA, IA3), got {config.peft_type!s} in {folder}, which "
            "prepends virtual tokens to a text; train a LoRA adapter instead"
        )
    return config


def _require_quick_patterns(folder: Path, network: nn.Module) -> None:
    """PEFT uses many fields of a configuration as regular expressions, keys of ``rank_pattern`` for one."""
    names = [name for name, _ in network.named_modules()]
    require_quick_patterns(read_adapter_config(folder), names, str(folder / ADAPTER_CONFIG))


def rebuild_adapter(network: nn.Module, folder: Path) -> nn.Module:
    """Put an adapter with new weights, of the configuration in ``folder``, into ``network``; for a checkpoint.

    Raises:
        CheckpointError: PEFT does not understand the configuration, or a pattern in it takes for ever.
        ModelError: It is of a kind that does not live in layers, or names code.
    """
    peft = import_peft()
    if read_adapter_config(folder).get("megatron_config"):
        raise ModelError(
            f"expected an adapter without megatron_config in {folder}, got one, which names code to import; remove it"
        )
    config = read_config(folder)
    _require_quick_patterns(folder, network)
    config.inference_mode, config.base_model_name_or_path = False, None  # the base is the checkpoint's own
    with without_noise():
        wrapper: nn.Module = peft.get_peft_model(network, config)
    return wrapper


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Run the block without PEFT's warnings about what it fixes itself."""
    with warnings.catch_warnings():
        # It asks under a name that transformers has given up.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        yield
