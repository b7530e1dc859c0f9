"""Folders of fitted reward models: a JSON card, safetensors, and never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from textgym.errors import CheckpointError

CARD = "reward_model.json"
Dtype = Literal["float32", "float16", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Fill a folder completely or not at all: ``write`` gets a temporary one, which is then renamed.

    Raises:
        CheckpointError: If the folder exists and holds something else than a reward model.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and not (target / CARD).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(
            f"expected a new or empty folder, or one with a {CARD} to replace, got {str(target)!r}; choose another"
        )
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
    replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
    unfinished.mkdir(parents=True)
    try:
        write(unfinished)
        if target.exists():
            target.rename(replaced)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card; a number that JSON does not know (NaN, infinity) is an error."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a reward model folder.

    Raises:
        CheckpointError: If there is none, or it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        raise CheckpointError(
            f"expected a folder written by PreferenceRewardModel.save, got {str(folder)!r} without {CARD}; check it"
        )
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"expected JSON in {str(file)!r}, got something else ({error}); save again") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"expected a JSON object in {str(file)!r}, got {type(card).__name__}; save again")
    return card


def convert_weights(folder: Path, dtype: Dtype) -> None:
    """Rewrite the safetensors files of a folder in another floating type.

    Raises:
        CheckpointError: If a weight is too large for it.
    """
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[name] = tensor.to(_DTYPES[dtype])
                _check_range(name, tensors[name], dtype)
        save_file(tensors, file, metadata={"format": "pt"})


def versions() -> dict[str, str]:
    """Versions of the packages that a saved model depends on."""
    return {name: _version(name) for name in ("textgym", "torch", "transformers")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a source tree that was never installed
        return "unknown"


def _check_range(name: str, tensor: torch.Tensor, dtype: Dtype) -> None:
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"expected finite weights, got infinity in {name!r} as {dtype}; save as bfloat16")
