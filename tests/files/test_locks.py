"""Locks: one holder at a time, none that is dead, and none on a file that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from textgym.errors import FolderInUseError, LockedError
from textgym.files import locks
from textgym.files.locks import LOCK, FileLock, FolderLock, is_in_use


def test_a_second_lock_is_refused_and_says_who_has_the_first(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "a.lock")
    with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
        FileLock(tmp_path / "a.lock")
    FileLock(tmp_path / "b.lock").release()
    first.release()
    first.release()
    FileLock(tmp_path / "a.lock").release()
    assert (tmp_path / "a.lock").read_text() == ""


def test_a_lock_that_is_removed_leaves_nothing_behind(tmp_path: Path) -> None:
    for _ in range(2):
        lock = FileLock(tmp_path / "a.lock", removed=True)
        with pytest.raises(LockedError):
            FileLock(tmp_path / "a.lock", removed=True)
        lock.release()
        assert list(tmp_path.iterdir()) == []


def test_who_opened_a_file_that_was_removed_meanwhile_locks_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next one would lock another file of the same name, and both would believe to be alone."""
    path = tmp_path / "a.lock"
    first, before = FileLock(path, removed=True), locks._open

    def open_slowly(name: Path) -> BinaryIO:
        file = before(name)
        first.release()
        return file

    monkeypatch.setattr(locks, "_open", open_slowly)
    second = FileLock(path)
    monkeypatch.undo()
    with pytest.raises(LockedError):
        FileLock(path)
    second.release()


FORK = """
import os, sys
from pathlib import Path
from textgym.files.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
if os.fork() == 0:
    try:
        lock.release()  # as the end of a block would in a worker: it is not this process's lock
        print("forked", flush=True)
        sys.stdin.read()
    finally:
        os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_that_was_forked_neither_releases_nor_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    command = [sys.executable, "-c", FORK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        with pytest.raises(LockedError, match=f"process {parent.pid}"):
            FileLock(path)
        parent.kill()  # the forked process lives on, until its input ends
        parent.wait()
        FileLock(path).release()


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()}"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_whether_a_folder_is_in_use_can_be_asked_without_locking_it(tmp_path: Path) -> None:
    assert not is_in_use(tmp_path)
    assert not (tmp_path / LOCK).exists()
    lock = FolderLock(tmp_path)
    assert is_in_use(tmp_path)
    lock.release()
    assert not is_in_use(tmp_path)
    (tmp_path / LOCK).write_text('{"pid": 1}')  # as a killed process leaves it
    assert not is_in_use(tmp_path)
    FolderLock(tmp_path).release()
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    assert not is_in_use(tmp_path)
