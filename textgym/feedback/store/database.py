"""One SQLite file for many threads and processes: opening, versions of its tables, transactions, errors.

Write-ahead logging lets readers go on while somebody writes; ``synchronous = FULL`` makes a commit wait for the disk
(https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from textgym.errors import DataError
from textgym.values import attribute_of

# Codes of https://www.sqlite.org/rescode.html
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """A file of tables that brings itself to the newest version.

    Args:
        path: The file; made, with its folder, if there is none.
        application_id: Number that tells files of this kind from other databases.
        migrations: Statements that lead from each version to the next; the first ones start from an empty file.
        timeout: Seconds to wait for others who are writing.

    Raises:
        DataError: The file is no database, one of something else, damaged, or newer than ``migrations``.
        PermissionError: It cannot be written.
        TimeoutError: Others kept it locked.
    """

    def __init__(
        self, path: str | Path, application_id: int, migrations: Sequence[Sequence[str]], timeout: float
    ) -> None:
        self.path = Path(path)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._inherited: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self._closed = False
        self._mode = "rwc"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(), self._connection() as db:
            self._check_kind(db, application_id, len(migrations))
            self._enter_wal(db)
            self._migrate(db, application_id, migrations)
        self._mode = "rw"  # a file that is gone is an error, not a new file

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection on which everything read belongs to one moment."""
        with self._explained(), self._connection() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextlib.contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend the only connection that may write now; what it wrote is kept, unless an exception leaves the block.

        Args:
            durable: Wait for the disk, so that not even a power failure takes back what was kept.
        """
        with self._explained(), self._connection() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file; twice is fine."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that nobody else is using."""
        db = self._take()
        try:
            yield db
        except BaseException:
            db.close()  # its state is unknown
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(db)
                return
        db.close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise ValueError(f"expected an open store, got {str(self.path)!r}, which was closed; open it again")
            if self._pid != os.getpid():  # a connection must not be used on both sides of a fork
                self._inherited += self._idle  # nor closed on one of them
                self._idle, self._pid = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        uri = f"{self.path.absolute().as_uri()}?mode={self._mode}"
        # Its transactions are ours (isolation_level); it goes from thread to thread, in one at a time.
        return sqlite3.connect(uri, self._timeout, isolation_level=None, check_same_thread=False, uri=True)

    def _check_kind(self, db: sqlite3.Connection, application_id: int, newest: int) -> None:
        db.execute("BEGIN")  # all of one moment, while somebody else may be making the file
        found, version = _pragma(db, "application_id"), _pragma(db, "user_version")
        in_use = version > 0 or db.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
        db.execute("ROLLBACK")
        if found != application_id and in_use:
            raise DataError(f"expected a feedback store, got {str(self.path)!r}, a database of something else")
        if made := db.execute("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone():
            raise DataError(
                f"expected a feedback store, got {str(self.path)!r} with a trigger or view {made[0]!r}, which would "
                "act by itself; export its votes where it comes from, and import them"
            )
        if version > newest:
            raise DataError(
                f"expected a feedback store of version {newest} or older, got {str(self.path)!r} of version {version}; "
                "upgrade textgym"
            )

    def _enter_wal(self, db: sqlite3.Connection) -> None:
        """Switch write-ahead logging on; unlike other statements, this one does not wait for others by itself."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                break
        if mode != "wal":
            raise DataError(
                f"expected a file that allows write-ahead logging, got {str(self.path)!r}; use a local disk"
            )

    def _migrate(self, db: sqlite3.Connection, application_id: int, migrations: Sequence[Sequence[str]]) -> None:
        if _pragma(db, "user_version") == len(migrations):
            return
        db.execute("BEGIN IMMEDIATE")
        for statements in migrations[_pragma(db, "user_version") :]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {application_id}")
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what SQLite's errors mean for the user."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code, name = _code(error), str(self.path)
            if code in _BUSY:
                raise TimeoutError(
                    f"expected {name!r} to be free within {self._timeout:g} s, got {error}; close what is writing to it"
                ) from error
            if code in _FORBIDDEN:
                raise PermissionError(
                    f"expected a file that can be written, in a folder that can, got {name!r} ({error}); change the "
                    "permissions, or copy it"
                ) from error
            if code in _DAMAGED:
                raise DataError(f"expected a feedback store, got {name!r} ({error}); check the path") from error
            raise


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _code(error: sqlite3.DatabaseError) -> int:
    """Return the primary result code; 0 for errors of the Python module itself."""
    return int(attribute_of(error, "sqlite_errorcode") or 0) & 0xFF
