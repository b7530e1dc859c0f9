"""Where the files of a model are: shipped with the package, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from textgym.errors import CheckpointError, MissingExtraError, did_you_mean
from textgym.foreign import read_json

Kind = Literal["model", "reward"]
SHIPPED = ("tiny", "tiny-reward")
_MARKERS = ("config.json", "tokenizer.json", "tokenizer_config.json", "reward_model.json", "adapter_config.json")
_MAKERS: Mapping[Kind, Sequence[str]] = {"model": ("sft", "train", "demo"), "reward": ("reward fit", "demo")}
_SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def resolve_folder(name: str | Path, *, kind: Kind = "model") -> Path:
    """Return the local folder that holds the files of ``name``.

    Args:
        name: ``"tiny"`` or ``"tiny-reward"`` (shipped), a folder in Hugging Face layout, a run folder that holds such a
            folder as ``model/`` or ``reward/``, or an id on the Hugging Face Hub. A folder wins over a Hub id.
        kind: Which child of a run folder is meant.

    Returns:
        An existing folder. Only safetensors and text files are ever fetched from the Hub, never pickles.

    Raises:
        CheckpointError: There is no such folder and no such model on the Hub (or no connection to it).
    """
    if str(name) in SHIPPED:
        return _shipped(str(name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(folder, kind)
    return _from_hub(str(name))


def _shipped(name: str) -> Path:
    """Return the folder of a model that comes with the package."""
    folder = Path(str(importlib.resources.files("textgym.assets") / name))
    if not folder.is_dir():
        raise CheckpointError(f"expected the shipped model {name!r} in {folder}, got no folder; reinstall textgym")
    return folder


def _local(folder: Path, kind: Kind) -> Path:
    """Return ``folder`` itself, or the child that a run folder keeps its ``kind`` in."""
    child = folder / kind
    if child.is_dir() and any((child / marker).is_file() for marker in _MARKERS):
        return child
    command = _command_of(folder)
    if command is not None:
        raise CheckpointError(_without_model(folder, kind, command))
    if any((folder / marker).is_file() for marker in _MARKERS):
        return folder
    raise CheckpointError(
        f"expected a folder with one of {', '.join(_MARKERS)} (or a run folder with {kind}/), got {str(folder)!r}"
    )


def _command_of(folder: Path) -> str | None:
    """Return the command whose run folder this is; ``None`` if it is no run folder."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return None
    command = config.get("command") if isinstance(config, dict) and "model_type" not in config else None
    return command if isinstance(command, str) else None


def _without_model(folder: Path, kind: Kind, command: str) -> str:
    """Say why a run folder holds no model of a kind, and what helps."""
    what = {"model": "language model", "reward": "reward model"}[kind]
    expected = f"expected a run with a {what}, got {str(folder)!r}, a run of `textgym {command}`"
    if command not in _MAKERS[kind]:
        makers = " or ".join(f"`textgym {maker}`" for maker in _MAKERS[kind])
        return f"{expected}, which makes none; give a run of {makers}"
    if kind == "model" and any((folder / "checkpoints").glob("step-*")):
        return f"{expected} that has not finished; finish it with: textgym train --resume {folder}"
    return f"{expected} that has not finished; run that command again"


def _from_hub(name: str) -> Path:
    """Fetch ``name`` from the Hub, or take it from the local Hub cache."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_like_path:
        raise CheckpointError(f"expected a folder, got {name!r}, which does not exist; check the path")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("models from the Hub need huggingface-hub; pip install huggingface-hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=_SAFE_FILES))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected a shipped model, a folder or a model of the Hugging Face Hub, got {name!r}, which is no folder "
            f"and could not be fetched ({type(error).__name__}); check the name and the connection."
            f"{did_you_mean(name, SHIPPED)}"
        ) from error
