"""Folders of sentence-transformers models: which classes they name, looked at before any of them is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from torch import nn

from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.models.proportions import check_folder
from textgym.security.foreign import read_json

_PACKAGE = "sentence_transformers"
_OLDEST = 6
_ACTIVATION = re.compile(r"torch\.nn\.(modules\.\w+\.)?\w+")
_CLASS_KEYS = re.compile(r"\w*_class|loss_fct|activation_fn")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def require_safe_release() -> None:
    """Check that the installed sentence-transformers imports nothing but its own classes.

    Raises:
        MissingExtraError: It is older than 6.0.
    """
    found = version("sentence-transformers")
    if int(re.match(r"\d*", found)[0] or 0) < _OLDEST:  # type: ignore[index]  # matches always
        raise MissingExtraError(
            f"expected sentence-transformers {_OLDEST}.0 or newer, got {found}, which imports any class that a model's "
            f"files name; pip install 'sentence-transformers>={_OLDEST}.0'"
        )


def check_encoder(folder: Path) -> None:
    """Check every JSON file of an encoder, those of its modules too.

    Args:
        folder: A sentence-transformers model, or any other Hugging Face model.

    Raises:
        CheckpointError: A file makes no sense, or leads out of the folder.
        ModelError: It names a class that is not one of sentence-transformers' modules, or wants code of its own to run.
    """
    check_folder(folder)
    if not (folder / "modules.json").is_file():
        return
    for part in {file.parent for file in folder.rglob("*.json")} - {folder}:
        check_folder(part)
    for file in sorted(folder.rglob("*.json")):
        if file.name != "tokenizer.json":
            _check_file(folder, file)


def _check_file(folder: Path, file: Path) -> None:
    content = read_json(file)
    for name in _class_names(content, is_list_of_modules=file.name == "modules.json"):
        _check_class(name, file)
    for key, value in _members(content):
        if key == "trust_remote_code" and value:
            raise ModelError(f"expected an encoder without code of its own, got trust_remote_code in {file}")
        if key == "activation_function" and not _ACTIVATION.fullmatch(str(value)):
            raise ModelError(f"expected an activation function of torch.nn, got {value!r} in {file}")
        if key == "path" and not (folder / str(value)).resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"expected parts of the encoder inside {folder}, got {value!r} in {file}")


def _class_names(content: object, is_list_of_modules: bool) -> Iterator[str]:
    """Yield what is imported: the types of modules, those of a router, and other classes that are given with a path."""
    for key, value in _members(content):
        match key, value:
            case "type", _ if is_list_of_modules:
                yield str(value)
            case "types", dict():
                yield from map(str, value.values())
            case _ if _CLASS_KEYS.fullmatch(key) and _DOTTED.fullmatch(str(value)):
                yield str(value)


def _members(value: object) -> Iterator[tuple[str, object]]:
    """Yield name and value of all members of all objects in JSON."""
    match value:
        case dict():
            yield from _members(list(value.values()))
            yield from value.items()
        case list():
            for item in value:
                yield from _members(item)


def _check_class(name: str, file: Path) -> None:
    """Check that a name stands for a module of sentence-transformers, and not for what one of its files imports."""
    if name.startswith(f"{_PACKAGE}.") and _DOTTED.fullmatch(name):
        from sentence_transformers.util import import_from_string

        try:
            found: object = import_from_string(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise CheckpointError(f"expected a module of {_PACKAGE} in {file}, got {name!r}: {error}") from error
        if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(f"{_PACKAGE}."):
            return
    raise ModelError(
        f"expected an encoder made of {_PACKAGE}' own modules, got {name!r} in {file}; classes from elsewhere are not "
        "imported, because that runs code: choose another encoder"
    )
