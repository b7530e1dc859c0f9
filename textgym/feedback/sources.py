"""The places that feedback is read from: a project, or a file of any shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from textgym import console
from textgym.feedback.projects import describe_left_out
from textgym.feedback.records.files import load_records, not_none
from textgym.feedback.records.parsing import record_to_json
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Record


def is_project(source: str | Path) -> bool:
    """Return whether a file is a database, by its first bytes (https://www.sqlite.org/fileformat.html)."""
    if not Path(source).is_file():
        return False
    with open(source, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def read_feedback(source: str | Path, *, quiet: bool = False) -> list[Record]:
    """Return the records of a project of ``textgym feedback``, or of a file of any shape, which is named.

    Answers of annotators who were excluded from a project are left out, which is said.

    Args:
        source: The file.
        quiet: Say nothing.

    Raises:
        DataError: It holds something else.
        FileNotFoundError: There is no such file.
    """
    if not is_project(source):
        loaded = load_records(source)
        for line in () if quiet else loaded.lines:
            console.say(line)
        return not_none(loaded.records, source)
    with FeedbackStore(source) as store:
        if not quiet and (left_out := describe_left_out(store)):
            console.remark(left_out)
        return store.records()


def digest_of(records: Iterable[Record]) -> str:
    """Return 16 hexadecimal digits that depend on the records and their order alone."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record_to_json(record), sort_keys=True).encode())
    return digest.hexdigest()[:16]
