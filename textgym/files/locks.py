"""Locks that give one process at a time a folder or a file; the system releases them when their owner dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import sys
import time
import warnings
import weakref
from pathlib import Path
from typing import BinaryIO

from textgym.errors import FolderInUseError, LockedError, RunFolderError

LOCK = ".lock"
_PLACE = 1 << 20  # Windows locks bytes against readers too: one far behind the text keeps the text readable


class FileLock:
    """A lock on a file of its own, held until :meth:`release` or the end of the process, however that ends.

    The lock is the system's, on the open file; the text in it (process id, host, time) only says who has it. A process
    that is killed leaves the file behind, and no lock; one that it has forked does not hold the lock on. A second lock
    of the same process counts as another's.

    Args:
        path: The file; made if there is none, and left behind unless ``removed``.
        removed: Remove the file when the lock is released.

    Raises:
        LockedError: Somebody has it; the message says who.
        RunFolderError: What has this name is a link, or no file.
    """

    def __init__(self, path: Path, *, removed: bool = False) -> None:
        self._path = path
        self._removed = removed
        self._held = False
        self._file: BinaryIO | None = None
        while True:
            self._file = _open(path)
            self._held = self._take(self._file)
            if _is_same(self._file, path):
                break
            self._file.close()  # whoever had it has removed it meanwhile: others lock a new one
        if self._held:
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(json.dumps(about).encode())
            _HELD.add(self)

    def _take(self, file: BinaryIO) -> bool:
        """Lock the file; False on a file system without locks."""
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            holder = _describe_holder(file)
            file.close()
            raise LockedError(holder) from None
        except OSError as error:
            warnings.warn(
                f"this file system keeps no locks ({error}): see that nobody else uses {str(self._path)!r}",
                stacklevel=4,
            )
            return False
        return True

    def release(self) -> None:
        """Let others in; nothing happens where that was done before."""
        if self._file is None:
            return
        if self._held:
            self._file.truncate(0)
            if self._removed:
                with contextlib.suppress(OSError):  # Windows removes no open file
                    self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Close the file, and leave the lock to the process that this one was forked from, if it was."""
        if self._file is not None:
            self._file.close()
            self._file = None
        _HELD.discard(self)


class FolderLock:
    """The right to write in a folder: a :class:`FileLock` on ``.lock`` in it."""

    def __init__(self, folder: Path) -> None:
        """Lock an existing folder.

        Raises:
            FolderInUseError: Somebody has it; the message says who.
            RunFolderError: What is called ``.lock`` is a link, or no file.
        """
        try:
            self._lock = FileLock(folder / LOCK)
        except LockedError as error:
            raise FolderInUseError(
                f"expected a folder that nobody works in, got {str(folder)!r}, which is in use by {error.holder}; wait "
                "for it to end, stop it, or choose another folder"
            ) from None

    def release(self) -> None:
        """Let others in; nothing happens where that was done before."""
        self._lock.release()


def is_in_use(folder: Path) -> bool:
    """Say whether a living process has the lock of a folder; false where nobody can tell."""
    path = folder / LOCK
    try:
        # Without a text in it, it was released; the lock itself is tried only where its owner may have been killed.
        if path.is_symlink() or not path.is_file() or not path.stat().st_size:
            return False
        with path.open("r+b") as file:
            _lock(file)
    except (BlockingIOError, PermissionError) as error:
        return isinstance(error, BlockingIOError) or sys.platform == "win32"
    except OSError:  # a file system without locks
        return False
    return False


def _let_go_of_all() -> None:
    """Leave all locks to the process that this one was forked from: they end with it, whatever this one does."""
    for lock in list(_HELD):
        lock.let_go()


_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # where processes are forked
    os.register_at_fork(after_in_child=_let_go_of_all)


def _is_same(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _open(path: Path) -> BinaryIO:
    """Open a regular file, as it is, or make it; a link is not followed, and a pipe not waited for.

    Raises:
        RunFolderError: It is something else.
    """
    wrong = f"expected a file or nothing called {str(path)!r}, got a link, folder, pipe or device; remove it"
    flags = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # Windows has only the last
    if path.is_symlink() or path.is_dir():
        raise RunFolderError(wrong)
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | sum(getattr(os, flag, 0) for flag in flags), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise RunFolderError(wrong) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise RunFolderError(wrong)
    return os.fdopen(number, "r+b", buffering=0)


def _lock(file: BinaryIO) -> None:
    """Lock a file without waiting; whoever closes it unlocks it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(_PLACE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _describe_holder(file: BinaryIO) -> str:
    file.seek(0)
    try:
        about = json.loads(file.read(1000))
        return f"process {int(about['pid'])} on {str(about['host'])!r} (since {about['since']})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
