"""One process at a time in a folder: a lock that the system releases when its owner dies, however it dies."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import BinaryIO

from textgym.errors import FolderInUseError

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
        """
        self._path = folder / LOCK
        self._file: BinaryIO | None = open(self._path, "a+b", buffering=0)  # noqa: SIM115 - open as long as it is held
        try:
            _lock(self._file)
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
        self._file.truncate(0)
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._file.write(json.dumps(about).encode())

    def release(self) -> None:
        """Let others in; nothing happens where that was done before."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


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
