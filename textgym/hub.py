"""The location of a model's files: shipped with the package, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import importlib.resources
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from textgym.errors import CheckpointError, MissingExtraError, did_you_mean
from textgym.files.paths import folders_in, suggested_folder, user_path
from textgym.security.foreign import read_object
from textgym.values import as_text, expect_text

Kind = Literal["model", "reward"]
_ASSETS = Path(str(importlib.resources.files("textgym.assets")))
SHIPPED = tuple(sorted(folder.name for folder in _ASSETS.iterdir() if (folder / "config.json").is_file()))
"""Names of the models that come with the package."""
_MARKERS = ("config.json", "tokenizer.json", "tokenizer_config.json", "reward_model.json", "adapter_config.json")
_MAKERS: Mapping[Kind, Sequence[str]] = {"model": ("sft", "train", "demo"), "reward": ("reward fit", "demo")}
ADAPTER_CONFIG = "adapter_config.json"
AGENT = "agent"
"""Name of the folder in that of a run where an agent is saved that has no language model of its own."""
_TEXTS = (".json", ".jinja", ".txt", ".model")
_SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def resolve_folder(name: str | Path, *, kind: Kind = "model") -> Path:
    """Return the local folder that holds the files of ``name``.

    Args:
        name: ``"tiny"`` or ``"tiny-reward"`` (shipped), a folder in Hugging Face layout, a run folder that holds such a
            folder as ``model/`` or ``reward/``, or an id on the Hugging Face Hub. A folder wins over a Hub id.
        kind: Name of the wanted child of a run folder.

    Returns:
        An existing folder. Only safetensors and text files are ever fetched from the Hub, never pickles.

    Raises:
        CheckpointError: There is no such folder and no such model on the Hub (or no connection to it).
    """
    if str(name) in SHIPPED:
        return _shipped(str(name))
    folder = user_path(name)
    if folder.is_dir():
        return _local(folder, kind)
    return _from_hub(str(name))


def is_encoder_decoder(folder: Path) -> bool:
    """Return whether the configuration of the model in a folder is that of an encoder-decoder; of an adapter, its base.

    It is not where there is none, or a damaged one: whoever reads it next reports that.
    """
    try:
        base = base_of_adapter(folder) if is_adapter(folder) else folder
        return read_object(base / "config.json").get("is_encoder_decoder") is True
    except (OSError, ValueError, CheckpointError, MissingExtraError):
        return False


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a PEFT adapter, which needs a base model, and no model of its own."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_adapter_config(folder: Path) -> dict[str, object]:
    """Read the configuration of an adapter as JSON.

    Raises:
        CheckpointError: The file is damaged.
    """
    file = folder / ADAPTER_CONFIG
    try:
        return read_object(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected JSON in {file}, got something else ({error}); save the adapter again"
        ) from error


def base_of_adapter(folder: Path) -> Path:
    """Return the folder of the base model that an adapter names: relative to it, or as :func:`resolve_folder` does.

    Raises:
        CheckpointError: It names none, none that can be found, or another adapter.
    """
    given = read_adapter_config(folder).get("base_model_name_or_path")
    name = as_text(given)
    if not name:
        raise CheckpointError(
            f"expected the base model's folder or Hub id as base_model_name_or_path in {folder / ADAPTER_CONFIG}, "
            f"got {given!r}; write it there"
        )
    beside = folder / name
    base = resolve_folder(beside if beside.is_dir() else name)
    if is_adapter(base):
        raise CheckpointError(
            f"expected a whole model as the base of the adapter in {folder}, got {str(base)!r}, which is an adapter "
            "too; merge that one and save it as a model"
        )
    return base


def tokenizer_folder(folder: Path) -> Path:
    """Return where the tokenizer of a model is: in its folder, or, for an adapter without one, in its base model's."""
    return base_of_adapter(folder) if is_adapter(folder) and not (folder / "tokenizer.json").is_file() else folder


def _shipped(name: str) -> Path:
    """Return the folder of a model that comes with the package."""
    folder = _ASSETS / name
    if not folder.is_dir():
        raise CheckpointError(f"expected the shipped model {name!r} in {folder}, got no folder; reinstall textgym")
    return folder


def _local(folder: Path, kind: Kind) -> Path:
    """Return ``folder`` itself, or the child that a run folder keeps its ``kind`` in."""
    if folder.name == AGENT and (command := _command_of(folder.parent)) is not None:
        raise CheckpointError(_without_model(folder.parent, kind, command))
    child = folder / kind
    if _has_model(child):
        _refuse_links(child)
        return child
    command = _command_of(folder)
    if command is not None:
        raise CheckpointError(_without_model(folder, kind, command))
    if _has_model(folder):
        _refuse_links(folder)
        return folder
    runs = folders_in(folder, lambda path: _has_model(path / kind))
    holds = f", which holds runs; name one of them: {runs}" if runs else "; check the path"
    raise CheckpointError(
        f"expected a folder with one of {', '.join(_MARKERS)} (or a run folder with {kind}/), "
        f"got {str(folder)!r}{holds}"
    )


def _has_model(folder: Path) -> bool:
    return any((folder / marker).is_file() for marker in _MARKERS)


def _refuse_links(folder: Path) -> None:
    """Check that a model's texts lie in its folder: they are saved again, and sent on, with what is made of it.

    Links of the Hub's cache lead to its own blobs. The folder itself and weights may be links to anywhere.
    """
    root = folder.resolve()
    homes = [root, *(place.parent / "blobs" for place in root.parents if place.name == "snapshots")]
    for file in root.iterdir():
        target = Path(os.path.realpath(file))  # which goes round no loop
        if file.suffix in _TEXTS and not any(target.is_relative_to(home) for home in homes):
            raise CheckpointError(
                f"expected the files of a model in its own folder, got a link, {str(file)!r} -> {str(target)!r}; put a "
                "copy there if you know and trust it"
            )


def _command_of(folder: Path) -> str | None:
    """Return the command whose run folder this is; ``None`` if it is no run folder."""
    try:
        config = read_object(folder / "config.json")
        return None if "model_type" in config else expect_text(config.get("command"))
    except (OSError, TypeError, ValueError):
        return None


def _without_model(folder: Path, kind: Kind, command: str) -> str:
    """Say why a run folder holds no model of a kind, and what helps."""
    what = {"model": "language model", "reward": "reward model"}[kind]
    expected = f"expected a run with a {what}, got {str(folder)!r}, a run of `textgym {command}`"
    if command not in _MAKERS[kind]:
        makers = " or ".join(f"`textgym {maker}`" for maker in _MAKERS[kind])
        return f"{expected}, which makes none; give a run of {makers}"
    if kind == "model" and (folder / AGENT).is_dir():
        return (
            f"{expected}, which holds an agent and no language model of its own; evaluate or play it with --agent "
            f"{shlex.quote(str(folder))}, or give a run that holds a model"
        )
    resumed_by = "train" if command == "demo" and kind == "model" else command
    if resumed_by != "demo" and (command != "demo" or any((folder / "checkpoints").glob("step-*"))):
        command_line = f"textgym {resumed_by} --resume {shlex.quote(str(folder))}"
        return f"{expected} that has not finished; finish it with: {command_line}"
    return f"{expected} that has not finished; run that command again"


def _from_hub(name: str) -> Path:
    """Fetch ``name`` from the Hub, or take it from the local Hub cache."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_like_path:
        raise CheckpointError(
            f"expected a folder, got {name!r}, which does not exist; check the path.{suggested_folder(name)}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("models from the Hub need huggingface-hub; pip install huggingface-hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=_SAFE_FILES))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected a shipped model, a folder or a model of the Hugging Face Hub, got {name!r}, which is not a "
            f"folder and could not be fetched ({type(error).__name__}); check the name and the connection."
            f"{suggested_folder(name) or did_you_mean(name, SHIPPED)}"
        ) from error
