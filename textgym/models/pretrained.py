"""Networks read from a Hugging Face folder: every weight from safetensors, none made up, no code from the folder."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils import logging as hf_logging

from textgym.errors import CheckpointError, MissingExtraError, ModelError, TextGymError, is_out_of_memory
from textgym.models.proportions import proportionate

_PIP = re.compile(r"pip install\s+(?:(?:-U|--upgrade)\s+)?[`'\"]?([A-Za-z0-9][\w.\-\[\]]*)")
_ALIGNMENT = 64  # bytes, of torch's allocator on the CPU


def read_pretrained(auto_class: Any, what: str, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Read the network in ``folder`` with a transformers ``Auto`` class.

    Transformers fills weights that a checkpoint lacks with random numbers and goes on; here that is an error.

    Args:
        auto_class: Such as ``AutoModelForCausalLM``.
        what: Noun phrase for errors: ``"a causal LM"``.
        folder: In Hugging Face layout.
        dtype: Type the weights are held in.

    Raises:
        CheckpointError: Weights are missing, damaged, pickled or of other shapes than the configuration says.
        ModelError: The model is of another kind, or needs code from its folder.
        MissingExtraError: It needs a package that is not installed.
    """
    try:
        with quiet(), proportionate(folder):
            network, report = auto_class.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that the error below can name them
            )
    except TextGymError:
        raise
    except (OSError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"expected safetensors weights in {folder}, got none that can be read ({error}); "
            "pickled weights are not opened, because they can execute code: convert them"
        ) from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"expected the weights that the configuration in {folder} describes, got others ({error}); fetch it again"
        ) from error
    except ImportError as error:
        raise MissingExtraError(_missing_package(folder, error)) from error
    except (ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"expected {what} in {folder}, got another kind of model: {reason}") from error
    if absent := sorted([*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]):
        raise CheckpointError(
            f"expected all weights of {type(network).__name__} in {folder}, got none or others for {len(absent)}: "
            f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}; fetch the model again or fit its head first"
        )
    align_weights(network)
    return network


def align_weights(network: nn.Module) -> None:
    """Move weights to addresses as of torch's own tensors.

    Those of a file begin at any byte. On some CPUs the same product of a matrix at such an address differs in its last
    bit, so that a model and its copy would not learn the same bit for bit.
    """
    for parameter in network.parameters():
        if parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()


def _missing_package(folder: Path, error: ImportError) -> str:
    """Say which package a model needs: the module that was not found, or what transformers says to install."""
    advised = _PIP.search(str(error))
    package = advised.group(1) if advised else (error.name or "").partition(".")[0]
    reason = " ".join(str(error).split())
    remedy = f"pip install {package}" if package else "pip install, with the package that this names"
    return f"expected the packages that the model in {folder} needs, got one that is missing ({reason}); use: {remedy}"


def require_finite_weights(network: nn.Module, what: str) -> None:
    """Check that no weight is NaN or infinite, at the cost of reading each once.

    Args:
        network: The network.
        what: Name of the network in the error.

    Raises:
        ModelError: Naming the first parameter that is not finite.
    """
    broken = [name for name, parameter in network.named_parameters() if not _is_finite(parameter.detach())]
    if broken:
        raise ModelError(
            f"expected finite weights, got NaN or infinity in {broken[0]!r} of {what} ({len(broken)} parameters in all)"
            "; the training that wrote them went wrong: use an earlier checkpoint, or fetch the model again"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Look at the sum first: it needs no memory, and is rarely infinite where no value is."""
    if tensor.is_meta or not tensor.is_floating_point() or tensor.itemsize < 2:
        return True
    return math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars from transformers: a model of ours is one file."""
    was_on = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            hf_logging.enable_progress_bar()
