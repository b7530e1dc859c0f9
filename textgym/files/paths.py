"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


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
