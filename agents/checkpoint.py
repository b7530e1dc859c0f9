"""Checkpoints of JSON and safetensors: written aside, verified by checksum, moved into place. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textgym.errors import CheckpointError
from textgym.foreign import LARGEST_STATE, read_object

_MANIFEST = "manifest.json"
_RECORD = "state.json"
_TENSORS = "tensors.safetensors"


def unique_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out tensors that share memory with an earlier one (tied weights); the rest is made contiguous."""
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    unique: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        identity = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() == 0 or identity not in seen:
            unique[name] = tensor.detach().contiguous()
            seen.add(identity)
    return unique


def load_unique(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load what :func:`unique_tensors` kept; tied weights come along.

    Raises:
        CheckpointError: If a weight is missing, left over, or of another shape.
    """
    try:
        missing, unexpected = module.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"expected the weights of this model in {folder}, got others: {error}") from error
    tied = set(module.state_dict()) - set(unique_tensors(module.state_dict()))
    if unexpected or set(missing) - tied:
        names = [*unexpected, *sorted(set(missing) - tied)][:3]
        raise CheckpointError(f"expected the weights of this model in {folder}, got other names, such as {names}")


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    extra: Callable[[Path], object] | None = None,
) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old one or the new one, never half of one.

    Args:
        folder: Where it goes; replaced if it exists.
        tensors: Named tensors.
        record: JSON; its ``"kind"`` says what the checkpoint is of. Numpy scalars and paths are stored as plain values.
        extra: Writes further files into the folder it is given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _restore(folder)
    aside, retired = folder.parent / f".{folder.name}.new", _retired(folder)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        save_file(dict(tensors), aside / _TENSORS)
        (aside / _RECORD).write_text(json.dumps(record, indent=1, default=_plain), encoding="utf-8")
        if extra is not None:
            extra(aside)
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        manifest = {path.relative_to(aside).as_posix(): _digest(path) for path in files}
        (aside / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in (*files, aside / _MANIFEST, aside):
            _sync(path)
        shutil.rmtree(retired, ignore_errors=True)
        if folder.exists():
            folder.rename(retired)
        aside.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        _restore(folder)
        raise


def _plain(value: object) -> object:
    """Return what JSON has instead of a value that it does not know."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected numbers, texts, lists and dicts in a checkpoint, got {type(value).__name__}")


def _retired(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _restore(folder: Path) -> None:
    """Bring the old checkpoint back where a crash came between the two moves of a replacement."""
    if not folder.exists() and _retired(folder).is_dir():
        _retired(folder).rename(folder)


def read_checkpoint(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint after checking every file of it.

    Returns:
        Tensors by name, and the record.

    Raises:
        CheckpointError: If something is missing, changed, or of another kind.
    """
    verify_checkpoint(folder)
    try:
        record = read_object(folder / _RECORD, LARGEST_STATE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected the record of a checkpoint in {folder}, got: {error}") from error
    if record.get("kind") != kind:
        raise CheckpointError(
            f"expected a checkpoint of {kind} in {folder}, got {record.get('kind')!r}; choose another folder"
        )
    try:
        return load_file(folder / _TENSORS), record
    except SafetensorError as error:
        raise CheckpointError(
            f"expected tensors in {folder / _TENSORS}, got a file that cannot be read: {error}"
        ) from error


def verify_checkpoint(folder: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: Naming the first file that is missing or changed.
    """
    _restore(folder)
    try:
        manifest = read_object(folder / _MANIFEST)
        if not {_RECORD, _TENSORS} <= manifest.keys():
            raise ValueError(f"{_MANIFEST} does not name the files")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected a checkpoint in {folder}, got none that is complete: {error}") from error
    for name, digest in manifest.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(
                f"expected files of checkpoint {folder}, got {name!r} outside of it; check its origin"
            )
        if not path.is_file():
            raise CheckpointError(f"expected {name} in checkpoint {folder}, got no such file; use an older checkpoint")
        if _digest(path) != digest:
            raise CheckpointError(f"expected {path} as it was written, got another content; use an older checkpoint")


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest valid checkpoint among the sub-folders of ``folder``, by their names.

    Returns:
        The checkpoint (``None`` if there is none), and what was wrong with the newer ones.
    """
    for retired in folder.glob(".*.old"):
        _restore(folder / retired.name[1:].removesuffix(".old"))
    problems = []
    for candidate in sorted((p for p in folder.glob("*") if p.is_dir() and not p.name.startswith(".")), reverse=True):
        try:
            verify_checkpoint(candidate)
        except CheckpointError as error:
            problems.append(str(error))
        else:
            return candidate, problems
    return None, problems


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
