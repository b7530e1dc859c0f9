"""Files that survive a crash: written aside and renamed, full disks named, leftovers of killed runs removed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textgym.errors import DiskFullError

_FULL = {code for code, name in errno.errorcode.items() if name in ("ENOSPC", "EFBIG", "EDQUOT")}
_RUST_CODE = re.compile(r"\(os error (\d+)\)")  # how safetensors and tokenizers tell
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")
_NEW, _OLD = ".new", ".old"


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" inside the block, whoever says it, into an error that names ``path`` and what to do.

    Raises:
        DiskFullError: The disk, a quota or a limit of file sizes is exhausted.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not _means_full(error):
            raise
        raise DiskFullError(
            f"expected room to write {str(path)!r}, got: {error}; free some space there, or raise the quota or the "
            "limit of file sizes, then resume. What was saved before is still there."
        ) from error


def _means_full(error: Exception) -> bool:
    code = _RUST_CODE.search(str(error))
    return (isinstance(error, OSError) and error.errno in _FULL) or (code is not None and int(code[1]) in _FULL)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Lend a path to write to, which takes the place of ``file`` if the block ends without an exception.

    A crash at any moment leaves the old file or the new one.

    Raises:
        DiskFullError: There is no room; the old file stays.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with naming_full_disk(file):
            yield unfinished
            with open(unfinished, "rb+") as written:
                os.fsync(written.fileno())
            unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def replace_text(file: Path, text: str) -> None:
    """Write a text file, as :func:`replacing` does."""
    with (
        replacing(file) as unfinished,
        open(unfinished, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as opened,
    ):
        opened.write(text)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Lend a path with nothing there yet, where a folder is written that takes the place of ``folder`` afterwards.

    A crash at any moment leaves the old folder or the new one, never half of one; so does an exception in the block.

    Raises:
        DiskFullError: There is no room; the old folder stays.
        NotADirectoryError: The block wrote no folder there.
    """
    with naming_full_disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        restore(folder)
        unfinished, former = aside(folder), retired(folder)
        _remove(unfinished)
        try:
            yield unfinished
            _sync_all(unfinished)
            shutil.rmtree(former, ignore_errors=True)
            if folder.exists():
                folder.rename(former)
            unfinished.rename(folder)
            sync(folder.parent)
            shutil.rmtree(former, ignore_errors=True)
        except DiskFullError as error:  # by the name that its reader knows
            raise DiskFullError(str(error).replace(str(unfinished), str(folder))) from error
        finally:  # nothing is left to do where all went well
            _remove(unfinished)
            restore(folder)


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Write a folder as :func:`replacing_folder` does.

    Args:
        folder: Where it goes; replaced if it exists.
        fill: Writes everything into the empty folder that it is given.

    Raises:
        DiskFullError: There is no room; the old folder stays.
    """
    with replacing_folder(folder) as unfinished:
        unfinished.mkdir()
        fill(unfinished)


def _remove(unfinished: Path) -> None:
    if unfinished.is_dir() and not unfinished.is_symlink():
        shutil.rmtree(unfinished, ignore_errors=True)
    else:
        unfinished.unlink(missing_ok=True)


def _sync_all(folder: Path) -> None:
    """Bring a folder that was written to the disk, with everything in it."""
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder to be written to {str(folder)!r}, got none; write to that path")
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(file: Path, line: str) -> None:
    """Append a line, or nothing of it where it cannot be written whole.

    Raises:
        DiskFullError: There is no room.
    """
    with naming_full_disk(file), open(file, "ab", buffering=0) as opened:
        start = opened.seek(0, os.SEEK_END)
        rest = memoryview(line.encode("utf-8", errors="surrogatepass"))
        try:
            while rest:  # a nearly full disk takes a part, and refuses the next one
                rest = rest[opened.write(rest) :]
        except BaseException:
            opened.truncate(start)
            raise


def aside(folder: Path) -> Path:
    """Return where a folder is written before it is moved to its name."""
    return folder.parent / f".{folder.name}{_NEW}"


def retired(folder: Path) -> Path:
    """Return where a folder stays while its successor is moved to its name."""
    return folder.parent / f".{folder.name}{_OLD}"


def restore(folder: Path) -> None:
    """Bring a retired folder back where a crash came between the two moves of a replacement."""
    if not folder.exists() and retired(folder).is_dir():
        retired(folder).rename(folder)


def unfinished_name(path: Path) -> str | None:
    """Return what ``path``, which a killed process was writing, would have become; ``None`` if it is whole."""
    if path.is_symlink():
        return None
    if path.is_dir() and path.name.startswith(".") and path.suffix == _NEW:
        return path.name[1:].removesuffix(_NEW)
    if path.is_file() and _UNFINISHED.fullmatch(path.name):
        return path.name[1:].rsplit(".", 2)[0]
    return None


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what killed processes left half-written in a folder, and bring back what they had moved aside.

    Only the process that holds the folder's lock may call this, and only where textgym made the folder.

    Returns:
        The names of what was removed.
    """
    removed = []
    for path in sorted(folder.glob(".*")) if folder.is_dir() else ():
        finished = folder / path.name[1:].removesuffix(_OLD)
        if path.name.endswith(_OLD) and path.is_dir() and not finished.exists():
            path.rename(finished)
        elif path.is_dir() and path.suffix in (_NEW, _OLD):
            shutil.rmtree(path)
            removed.append(path.name)
        elif path.is_file() and _UNFINISHED.fullmatch(path.name):
            path.unlink()
            removed.append(path.name)
    return removed
