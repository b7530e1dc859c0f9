"""Checkpoints of JSON and safetensors: written aside, verified by checksum, moved into place. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textgym.errors import CheckpointError, ModelError, TextGymError, is_out_of_memory
from textgym.files.disk import replace_folder, replacing_folder, restore
from textgym.models.stored_values import StoredRecord
from textgym.security.foreign import LARGEST_STATE, read_object
from textgym.values import as_list, plain_value

_Loaded = TypeVar("_Loaded")
_NONSENSE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError)
_DAMAGED = "damaged-"
_KEPT = 2

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


class Newest(NamedTuple, Generic[_Loaded]):
    """The result of :func:`load_newest`.

    Attributes:
        value: Value loaded from the newest usable checkpoint; ``None`` if there is none.
        folder: Folder of that checkpoint.
        problems: Problems of the newer checkpoints, newest first.
    """

    value: _Loaded | None
    folder: Path | None
    problems: list[str]


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, object],
    extra: Callable[[Path], object] | None = None,
    may_be_infinite: Collection[str] = (),
) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old one or the new one, never half of one.

    Args:
        folder: Where it goes; replaced if it exists.
        tensors: Named tensors.
        record: JSON; its ``"kind"`` says what the checkpoint is of. Numpy scalars and paths are stored as plain values.
        extra: Writes further files into the folder it is given.
        may_be_infinite: Tensors in which an infinity is no mistake, as in a mask.

    Raises:
        CheckpointError: A tensor holds NaN, or an infinity where there must be none. Nothing is written.
        DiskFullError: There is no room for it.
    """
    infinite = _check_finite(tensors.items(), may_be_infinite, "to save")
    record = {**record, "infinite": infinite} if infinite else record
    replace_folder(folder, lambda unfinished: _fill(unfinished, tensors, record, extra))


def save_step(folder: Path, step: int, save: Callable[[Path], object]) -> None:
    """Save the checkpoint of a step, ``step-0000000100`` and so on, and remove all but the newest two.

    Args:
        folder: Holds the checkpoints of one training; made with the first.
        step: Number of steps done.
        save: Writes a folder to the path that it is given, in whatever way: a crash leaves no half of it.

    Raises:
        DiskFullError: There is no room; the earlier checkpoints stay.
    """
    with replacing_folder(folder / step_name(step)) as unfinished:
        save(unfinished)
    for old in sorted(path for path in folder.glob("step-*") if path.is_dir())[:-_KEPT]:
        shutil.rmtree(old)


def step_name(step: int) -> str:
    """Return the name of the checkpoint of a step."""
    return f"step-{step:010d}"


def _fill(
    folder: Path,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, object],
    extra: Callable[[Path], object] | None,
) -> None:
    """Write all files of a checkpoint, their manifest last."""
    save_file(dict(tensors), folder / _TENSORS)
    (folder / _RECORD).write_text(json.dumps(record, indent=1, default=_plain), encoding="utf-8")
    if extra is not None:
        extra(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _check_finite(tensors: Iterable[tuple[str, Tensor]], may_be_infinite: Collection[str], what: str) -> list[str]:
    """Return the names of tensors that hold infinities, and may.

    Raises:
        CheckpointError: Another one does, or one holds NaN.
    """
    infinite = []
    for name, tensor in tensors:
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        if name not in may_be_infinite or bool(torch.isnan(tensor).any()):
            raise CheckpointError(
                f"expected finite numbers {what}, got NaN or infinity in {name!r}; resume from an older checkpoint, "
                "with a lower learning rate if it happens again"
            )
        infinite.append(name)
    return infinite


def _plain(value: object) -> object:
    """Return what JSON has instead of a value that it does not know."""
    plain = plain_value(value)
    if plain is value:
        raise TypeError(f"expected numbers, texts, lists and dicts in a checkpoint, got {type(value).__name__}")
    return plain


def read_checkpoint(folder: Path, kind: str) -> tuple[dict[str, Tensor], StoredRecord]:
    """Read a checkpoint after checking every file of it.

    Returns:
        Tensors by name, and the record.

    Raises:
        CheckpointError: If something is missing, changed, or of another kind.
    """
    record = _verify_files(folder)
    if record.get("kind") != kind:
        raise CheckpointError(
            f"expected a checkpoint of {kind} in {folder}, got {record.get('kind')!r}; choose another folder"
        )
    try:
        # Copies: tensors in the file begin at any byte, and on some CPUs products of such ones differ in the last bit.
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / _TENSORS).items()}
    except SafetensorError as error:
        raise CheckpointError(
            f"expected tensors in {folder / _TENSORS}, got a file that cannot be read: {error}"
        ) from error
    _check_finite(tensors.items(), as_list(record.get("infinite")), f"in {folder}")
    return tensors, record


def is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a checkpoint, whole or not, and no model that can be loaded by itself."""
    return (folder / _MANIFEST).is_file()


def _verify_files(folder: Path) -> StoredRecord:
    """Compare every file with the manifest, and return the record."""
    restore(folder)
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
    return _read_record(folder)


def _read_record(folder: Path) -> StoredRecord:
    try:
        return read_object(folder / _RECORD, LARGEST_STATE)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected the record of a checkpoint in {folder}, got: {error}; use an older checkpoint"
        ) from error


def load_newest(folder: Path, load: Callable[[Path], _Loaded]) -> Newest[_Loaded]:
    """Load the newest checkpoint among the sub-folders of ``folder``, by their names, that can be used.

    Args:
        folder: Holds checkpoints.
        load: Loads one, verifying it as :func:`read_checkpoint` does. Where it cannot make sense of one (a file or an
            entry is missing, or of a wrong type), the next older one is tried; what it did before that must be undone
            by its next call.
    """
    problems: list[str] = []
    for candidate in _candidates(folder):
        try:
            return Newest(load(candidate), candidate, problems)
        except CheckpointError as error:
            problems.append(str(error))
        except FileNotFoundError as error:
            if not _is_inside(error.filename, candidate):
                raise
            problems.append(f"expected every file of a checkpoint in {candidate}, got no {error.filename or error}")
        except _NONSENSE as error:
            about_checkpoint = isinstance(error, ModelError) or not isinstance(error, TextGymError)
            if not about_checkpoint or is_out_of_memory(error):
                raise
            problems.append(f"expected the state of a run in {candidate}, got {type(error).__name__}: {error}")
    return Newest(None, None, problems)


def _is_inside(file: str | bytes | None, folder: Path) -> bool:
    """Say whether a file that is missing is one of a checkpoint; whoever names none has read nothing else."""
    return file is None or Path(os.fsdecode(file)).resolve().is_relative_to(folder.resolve())


def set_aside_newer(checkpoint: Path) -> None:
    """Rename the checkpoints newer than the one in use, which cannot be used, so that they do not count as newest."""
    set_aside(checkpoint.parent, checkpoint.name)


def set_aside(folder: Path, newest: str = "") -> None:
    """Rename the checkpoints in a folder that cannot be used: those newer than ``newest``, by default all."""
    for other in _candidates(folder):
        if other.name > newest:
            damaged = other.with_name(_DAMAGED + other.name)
            shutil.rmtree(damaged, ignore_errors=True)
            other.rename(damaged)


def _candidates(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first, whole or not."""
    for former in folder.glob(".*.old"):
        restore(folder / former.name[1:].removesuffix(".old"))
    names = [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith((".", _DAMAGED))]
    return sorted(names, reverse=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
