"""A lock that gives one process at a time a folder; the system releases it when its owner dies, however it dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
import time
import warnings
from pathlib import Path
from typing import BinaryIO

from textgym.errors import FolderInUseError, RunFolderError

LOCK = ".lock"
_PLACE = 1 << 20  # Windows locks bytes against readers too: one far behind the text keeps the text readable


class FolderLock:
    """The right to write in a folder, held until :meth:`release` or the end of the process.

    The lock is the system's, on the open file ``.lock``; the text in it (process id, host, time) only says who has it.
    A process that is killed leaves the file behind, and no lock. A second lock of the same process counts as another's.
    """

    def __init__(self, folder: Path) -> None:
        """Lock an existing folder.

        Raises:
            FolderInUseError: Somebody has it; the message says who.
            RunFolderError: What is called ``.lock`` is a link, or no file.
        """
        self._path = folder / LOCK
        self._file: BinaryIO | None = _open(self._path)
        self._held = False
        try:
            _lock(self._file)
            self._held = True
        except (BlockingIOError, PermissionError):
            holder = _describe_holder(self._file)
            self._file.close()
            raise FolderInUseError(
                f"expected a folder that nobody works in, got {str(folder)!r}, which is in use by {holder}; wait for "
                "it to end, stop it, or choose another folder"
            ) from None
        except OSError as error:  # a file system without locks
            warnings.warn(
                f"this file system keeps no locks ({error}): see that no second run uses {str(folder)!r}", stacklevel=2
            )
        if self._held:
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(json.dumps(about).encode())

    def release(self) -> None:
        """Let others in; nothing happens where that was done before."""
        if self._file is not None:
            if self._held:
                self._file.truncate(0)
            self._file.close()
            self._file = None


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
