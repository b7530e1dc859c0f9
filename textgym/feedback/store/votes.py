"""Votes from store to store: all that a store holds, and what of it is new elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from textgym.feedback.records.files import FileRecords, load_records
from textgym.feedback.records.lines import write_lines
from textgym.feedback.records.parsing import is_check, record_to_json
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Demonstration, Record
from textgym.types import JsonObject, Shown


def export_votes(store: FeedbackStore, path: str | Path) -> int:
    """Write all records of a store, attention checks included, for :func:`import_votes`; returns how many.

    The lines are records with the name of their vote. Those that answer an attention check say so by ``"check": true``;
    :func:`~textgym.feedback.records.files.read_records` skips them.
    """
    rows = [
        {"vote": vote.id, **({"check": True} if vote.is_check else {}), **record_to_json(record)}
        for vote in store.votes()
        for record in vote.records
    ]
    write_lines(path, rows)
    return len(rows)


def import_votes(store: FeedbackStore, path: str | Path) -> int:
    """Add the records of a file to a store, all or none; those that are there already are not added again.

    What is there is known by the names of votes, and records without one by what they say. Votes count on the questions
    of the store that they answer (:meth:`~textgym.feedback.store.project.FeedbackStore.add_votes`).

    Args:
        store: The store.
        path: Written by :func:`export_votes`, or anything that :func:`~textgym.feedback.records.files.read_records`
            reads.

    Returns:
        Number of new votes.

    Raises:
        DataError: Naming file and line, as :func:`~textgym.feedback.records.files.read_records`.
        FileNotFoundError: If there is no file.
    """
    return add_file_records(store, load_records(path))


def add_file_records(store: FeedbackStore, loaded: FileRecords) -> int:
    """Add the records of a file that was read; as :func:`import_votes`."""
    lines = [(record, row) for _, row, record in loaded.rows]
    kept = store.votes()
    known = Counter(_content(record) for vote in kept for record in vote.records)
    names = {vote.id for vote in kept}
    votes, checks = (
        [vote for vote in _votes([line for line in lines if is_check(line[1]) == kind], known) if not _has(names, vote)]
        for kind in (False, True)
    )
    return store.add_votes(votes, checks)


def _votes(lines: Iterable[tuple[Record, JsonObject]], known: Mapping[str, int]) -> list[tuple[str, list[Record]]]:
    """Put the records of each vote together, wherever in the file they are; what it says twice counts once.

    Two projects may have named two votes alike: those are distinguished by who answered what.
    """
    found: dict[tuple[str, str, str, Shown], dict[object, Record]] = {}
    for name, record in _named(lines, known):
        own = found.setdefault((name, record.annotator, record.task_key, record.prompt), {})
        own.setdefault(_part(record), record)
    return [(name, list(records.values())) for (name, *_), records in found.items()]


def _part(record: Record) -> tuple[object, ...]:
    """Return which part of its vote a record is: somebody writes one text, and says one thing about others."""
    match record:
        case Demonstration():
            return (Demonstration,)
        case _:
            return type(record), record.responses


def _named(lines: Iterable[tuple[Record, JsonObject]], known: Mapping[str, int]) -> Iterator[tuple[str, Record]]:
    """Yield records with the names of their votes; one without is named after its content, unless that is known."""
    seen: Counter[str] = Counter()
    for record, row in lines:
        match row.get("vote"):
            case str(name):
                yield name, record
            case _:
                content = _content(record)
                seen[content] += 1
                if seen[content] > known.get(content, 0):
                    yield _nameless(content, seen[content]), record


def _has(names: Collection[str], vote: tuple[str, Sequence[Record]]) -> bool:
    """Return whether all records of a vote were imported before without its name."""
    contents = [_content(record) for record in vote[1]]
    return not vote[0].startswith(contents[0]) and all(_nameless(content, 1) in names for content in contents)


def _nameless(content: str, number: int) -> str:
    return f"{content}-{number}"


def _content(record: Record) -> str:
    """A digest of everything that a record says."""
    return hashlib.sha256(json.dumps(record_to_json(record), sort_keys=True).encode()).hexdigest()[:32]
