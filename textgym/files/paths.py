"""Paths as users write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from textgym.errors import most_similar

_MOST_LISTED = 10


def user_path(name: str | os.PathLike[str]) -> Path:
    """Return the path that a user means, with the home directory for ``~``.

    Raises:
        ValueError: It is that of a user whom this machine does not know, as in ``~nobody``.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        first = Path(name).parts[0]
        raise ValueError(
            f"expected a path, got {os.fspath(name)!r}: there is no home directory for {first!r}; write it in full, or "
            f"'./{os.fspath(name)}' for one here that is called so"
        ) from error


def name_of(value: object) -> str | None:
    """Return a name or a path as a text; ``None`` of a value that is neither, but the thing itself."""
    return os.fspath(value) if isinstance(value, str | os.PathLike) else None


def absolute_if_exists(name: str) -> str:
    """Return the absolute path of a file or folder that exists; any other name as it is."""
    path = user_path(name)
    return str(path.resolve()) if name and path.exists() else name


def suggested_folder(name: str | os.PathLike[str]) -> str:
    """Return ``" Did you mean 'runs/reply'?"`` for the folder that a path may have been meant to be.

    Nothing where there is such a folder, or none with a similar name.
    """
    path = user_path(name)
    found = None if path.exists() else _similar(path)
    return "" if found is None else f" Did you mean {str(found)!r}?"


def folders_in(folder: Path, is_wanted: Callable[[Path], bool]) -> str:
    """Return the folders in a folder that are wanted, the newest first, for a message; nothing if there are none."""
    found = [(path.stat().st_mtime, str(path)) for path in _folders(folder) if is_wanted(path)]
    names = [name for _, name in sorted(found, reverse=True)]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _similar(path: Path) -> Path | None:
    """Return the folder that has the most similar path to one that does not exist."""
    parent: Path | None = path.parent
    if parent is not None and not parent.is_dir():
        parent = _similar(parent)
    if parent is None or parent == path:
        return None
    if (parent / path.name).is_dir():
        return parent / path.name
    found = most_similar(path.name, [each.name for each in _folders(parent)])
    return None if found is None else parent / found


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:  # it is no folder, or nobody may look into it
        return []
