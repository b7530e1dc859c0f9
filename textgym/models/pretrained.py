"""Networks read from a Hugging Face folder: every weight from safetensors, none made up, no code from the folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

from textgym.errors import CheckpointError, ModelError, TextGymError
from textgym.models.proportions import proportionate


def read_pretrained(auto_class: Any, what: str, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Read the network in ``folder`` with a transformers ``Auto`` class.

    Transformers fills weights that a checkpoint lacks with random numbers and goes on; here that is an error.

    Args:
        auto_class: Such as ``AutoModelForCausalLM``.
        what: What it is, in words, for errors: ``"a causal LM"``.
        folder: In Hugging Face layout.
        dtype: Type the weights are held in.

    Raises:
        CheckpointError: Weights are missing, damaged, pickled or of other shapes than the configuration says.
        ModelError: The model is of another kind, or needs code from its folder.
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
        raise CheckpointError(
            f"expected safetensors weights in {folder}, got none that can be read ({error}); "
            "pickled weights are not opened, because they can execute code: convert them"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(
            f"expected the weights that the configuration in {folder} describes, got others ({error}); fetch it again"
        ) from error
    except (ValueError, KeyError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"expected {what} in {folder}, got another kind of model: {reason}") from error
    if absent := sorted([*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]):
        raise CheckpointError(
            f"expected all weights of {type(network).__name__} in {folder}, got none or others for {len(absent)}: "
            f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}; fetch the model again or fit its head first"
        )
    return network


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
