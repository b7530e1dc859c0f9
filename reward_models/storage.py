"""Folders of fitted reward models: a JSON card, safetensors, and never a pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from textgym.errors import CheckpointError, is_out_of_memory
from textgym.files.disk import replace_folder
from textgym.files.paths import user_path
from textgym.security.foreign import read_object, require_regular_files
from textgym.types import JsonObject

CARD = "reward_model.json"
Dtype = Literal["float32", "float16", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Fill a folder completely or not at all: ``write`` gets a temporary one, which is then renamed.

    Raises:
        CheckpointError: If the folder exists and holds something else than a reward model.
        DiskFullError: There is no room for it; what was there stays.
    """
    target = user_path(folder).absolute()
    if target.exists() and not (target / CARD).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(
            f"expected a new or empty folder, or one with a {CARD} to replace, got {str(target)!r}; choose another"
        )
    replace_folder(target, write)


def write_card(folder: Path, card: Mapping[str, object]) -> None:
    """Write the card; a number that JSON does not know (NaN, infinity) is an error."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> JsonObject:
    """Read the card of a reward model folder.

    Raises:
        CheckpointError: If there is none, or it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        raise CheckpointError(
            f"expected a folder written by a reward model's save, got {str(folder)!r} without {CARD}; check it"
        )
    try:
        return read_object(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {str(file)!r}, got something else ({error}); save again") from error


def open_folder(folder: str | Path, kind: str) -> tuple[Path, JsonObject]:
    """Return the folder of a reward model of a kind, and its card.

    Raises:
        CheckpointError: If there is no card, it is damaged, or of another kind.
    """
    folder = user_path(folder)
    card = read_card(folder)
    with complete(folder):
        require_regular_files(folder)
    if card.get("kind") != kind:
        raise CheckpointError(
            f"expected a reward model of kind {kind!r} in {str(folder)!r}, got {card.get('kind')!r}; "
            "open it with the class that saved it"
        )
    return folder, card


@contextlib.contextmanager
def complete(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong in reading a folder, but for memory, into a :class:`~textgym.errors.CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"expected a complete reward model in {str(folder)!r}, got {type(error).__name__}: {error}; save again"
        ) from error


def read_tensors(file: Path, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read finite tensors with the names and shapes of others.

    Raises:
        CheckpointError: If they are others.
    """
    found = load_file(file)
    shapes, expected = ({name: tuple(tensor.shape) for name, tensor in side.items()} for side in (found, like))
    if shapes != expected:
        raise CheckpointError(f"expected the tensors {expected} in {str(file)!r}, got {shapes}; save again")
    if not all(torch.isfinite(tensor).all() for tensor in found.values()):
        raise CheckpointError(f"expected finite weights in {str(file)!r}, got others; fit and save again")
    return found


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
