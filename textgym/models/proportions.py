"""Model folders of others: looked at before transformers builds what their configuration says.

A configuration of a few bytes can ask for a thousand million layers, and transformers would begin to make them. What is
built is therefore counted, by hooks of torch, and has to be in proportion to the weights that are there.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from textgym.errors import CheckpointError, ModelError, TextGymError
from textgym.security.foreign import LARGEST_TOKENIZER, read_json, require_regular, require_regular_files
from textgym.values import as_object, is_number, walk

_PARAMETERS_PER_BYTE = 16  # of weights: eight in a byte where they are quantised, and tied ones counted twice
_PARAMETERS_FREELY = 2**17
_BUFFERS_FREELY = 2**30
_MODULES = 10**6
_COUNTED = re.compile(r"layer|block|depth|head|expert|stage|group|label", re.IGNORECASE)
_SIZE = re.compile(r"(^|_)(size|sizes|dim|dims|id|ids)(_|$)", re.IGNORECASE)
_LARGEST_COUNT = 10**5
_KERNELS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_TOKENIZER, _ADAPTER = "tokenizer.json", "adapter_config.json"


@contextlib.contextmanager
def proportionate(folder: Path, weights: Path | None = None) -> Iterator[None]:
    """Check the description of a model, and stop the block when it builds far more than the weights could fill.

    Args:
        folder: The model, in Hugging Face layout.
        weights: Where its safetensors files are; ``folder`` by default. Where there are none, nothing is counted.

    Raises:
        CheckpointError: The description is too large, nested too deep, or out of proportion.
        ModelError: It wants code that is not part of transformers, or transformers cannot make sense of it.
    """
    check_folder(folder)
    size = sum(file.stat().st_size for file in (weights or folder).rglob("*.safetensors") if file.is_file())
    try:
        with _counting(folder, size) if size else contextlib.nullcontext():
            yield
    except (TextGymError, OSError, SafetensorError, RuntimeError, ValueError, KeyError, ImportError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # a configuration is data of others, and its mistakes end up anywhere in transformers
        raise ModelError(
            f"expected a configuration in {folder} that describes a model, got one that transformers stumbles over "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); fetch it again"
        ) from error


def check_folder(folder: Path) -> None:
    """Look at the JSON files of a model.

    Raises:
        CheckpointError: One is no file, too large, nested too deep or no JSON; or counts or paths in it make no sense.
        ModelError: One wants code from elsewhere.
    """
    if not folder.is_dir():
        return  # for transformers to say
    try:
        require_regular_files(folder)
    except OSError as error:
        raise CheckpointError(f"expected a model in {folder}, got: {error}") from error
    if (folder / _ADAPTER).is_file() and not any(folder.glob("adapter_model*.safetensors")):
        raise CheckpointError(
            f"expected an adapter with safetensors weights in {folder}, got none; pickled weights are not opened, "
            "because they can execute code: save it again with PEFT's save_pretrained"
        )
    for file in sorted(folder.glob("*.json")):
        try:
            if file.name == _TOKENIZER:
                require_regular(file, LARGEST_TOKENIZER)
                continue
            content = read_json(file)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"expected a readable {file.name} in {folder}, got: {error}") from error
        _check_content(file, as_object(content))


def _check_content(file: Path, content: Mapping[str, object]) -> None:
    if file.name == "config.json":
        _check_counts(file, content)
        _refuse_kernels(file, content)
    elif file.name == _ADAPTER and _names_modules(content):
        raise ModelError(f"expected an adapter of PEFT's own classes, got one in {file} that names modules to import")
    elif file.name.endswith(".index.json"):
        for name in as_object(content.get("weight_map")).values():
            if Path(str(name)).name != name:
                raise CheckpointError(f"expected weights beside {file}, got {name!r}; fetch the model again")


def _names_modules(adapter: Mapping[str, object]) -> bool:
    """Return whether an adapter names modules that are not of transformers, which PEFT itself notes."""
    mapping = adapter.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, Mapping) else mapping
    return bool(adapter.get("megatron_config")) or not str(library or "transformers.").startswith("transformers.")


def _check_counts(file: Path, config: Mapping[str, object]) -> None:
    """Refuse numbers of layers, heads and the like that no model has: some become lists before anything is built."""
    for name, value in walk(config):
        if is_number(value) and _is_count(name) and not -1 <= value <= _LARGEST_COUNT:
            raise CheckpointError(f"expected a model that can be built, got {name}={value:,} in {file}; fetch it again")


def _is_count(name: str) -> bool:
    return bool(_COUNTED.search(name)) and not _SIZE.search(name)


def _refuse_kernels(file: Path, config: Mapping[str, object]) -> None:
    """Refuse implementations that would be fetched from the Hub, which are code."""
    for name, value in walk(config):
        if _KERNELS.fullmatch(name) and "/" in str(value):
            raise ModelError(f"expected a model that runs transformers' own code, got {name}={value!r} in {file}")


@contextlib.contextmanager
def _counting(folder: Path, size: int) -> Iterator[None]:
    """Count what this thread builds in the block."""
    most = {"parameters": _PARAMETERS_FREELY + _PARAMETERS_PER_BYTE * size, "modules": _MODULES}
    most["buffers"] = max(_BUFFERS_FREELY, most["parameters"])
    found, thread = dict.fromkeys(most, 0), threading.get_ident()

    def count(kind: str, amount: int) -> None:
        found[kind] += amount
        if found[kind] > most[kind] and threading.get_ident() == thread:
            raise CheckpointError(
                f"expected a configuration in proportion to the {size:,} bytes of weights in {folder}, got one with "
                f"more than {most[kind]:,} {kind}; fetch the model again"
            )

    def on_parameter(_: nn.Module, __: str, parameter: Tensor | None) -> None:
        count("parameters", 0 if parameter is None else parameter.numel())

    def on_buffer(_: nn.Module, __: str, buffer: Tensor | None) -> None:
        count("buffers", 0 if buffer is None else buffer.numel())

    def on_module(_: nn.Module, __: str, ___: nn.Module | None) -> None:
        count("modules", 1)

    handles = [
        torch_module.register_module_parameter_registration_hook(on_parameter),
        torch_module.register_module_buffer_registration_hook(on_buffer),
        torch_module.register_module_module_registration_hook(on_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
