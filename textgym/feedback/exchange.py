"""Records in the forms that others read: rows for preference trainers, spreadsheets; and votes from store to store.

The rows are those of TRL's data sets (https://huggingface.co/docs/trl/dataset_formats): ``prompt``, ``chosen``,
``rejected`` ("preference") and ``prompt``, ``completion``, ``label`` ("unpaired preference").
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from textgym.feedback.annotators.comparisons import PreferenceRow
from textgym.feedback.records import (
    KINDS,
    is_check,
    read_lines,
    record_from_json,
    record_to_json,
    replacing,
    write_lines,
)
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Comparison, Demonstration, Ranking, Rating, Record

Form = Literal["records", "preferences", "labels", "csv"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# A semicolon ends a cell where the comma is the decimal sign.
_AFTER_SEMICOLON = re.compile(rf"(;\s*)(?=[{''.join(map(re.escape, _FORMULA))}])")
_GOOD, _BAD = 4, 2


class LabelledRow(TypedDict):
    """A text that somebody found good, or bad."""

    prompt: str
    completion: str
    label: bool


def to_preference_rows(records: Iterable[Record]) -> list[PreferenceRow]:
    """Turn records into (prompt, chosen, rejected) rows.

    A comparison is one row, unless neither text is better. A ranking is a row for every pair of different rank. An
    edited text is better than what it was made from. Ratings and implicit feedback compare nothing by themselves.

    Args:
        records: Of any kind.

    Returns:
        The rows, in the order of the records. Half surrogate pairs, which UTF-8 cannot say, became ``?``.
    """
    return [
        PreferenceRow(prompt=_utf8(record.prompt), chosen=_utf8(chosen), rejected=_utf8(rejected))
        for record in records
        for chosen, rejected in _pairs(record)
    ]


def to_labelled_rows(records: Iterable[Record]) -> list[LabelledRow]:
    """Turn records into (prompt, completion, label) rows.

    Good are the chosen text of a comparison, the first of a ranking, ratings of 4 and 5, and demonstrations; bad are
    the rejected one, both if both are, the last, and ratings of 1 and 2. What is in between makes no row.

    Args:
        records: Of any kind.

    Returns:
        The rows, in the order of the records; texts as in `to_preference_rows`.
    """
    return [
        LabelledRow(prompt=_utf8(record.prompt), completion=_utf8(text), label=label)
        for record in records
        for text, label in _labels(record)
    ]


def export_records(records: Iterable[Record], path: str | Path, form: Form = "records") -> None:
    """Write records to a file, which is replaced only after the new one is complete.

    Args:
        records: Of any kind.
        path: The file.
        form: ``"records"``: JSON lines that lose nothing; ``"preferences"``: JSON lines of `to_preference_rows`;
            ``"labels"``: JSON lines of `to_labelled_rows`; ``"csv"``: a table for spreadsheets, one line per record, in
            which no cell is a formula.

    Raises:
        ValueError: If there is no such form.
    """
    if form not in get_args(Form):
        raise ValueError(f"expected a form out of {', '.join(get_args(Form))}, got {form!r}; choose one of them")
    _WRITERS[form](Path(path), records)


def export_votes(store: FeedbackStore, path: str | Path) -> int:
    """Write all records of a store, attention checks included, for `import_votes`; returns how many.

    The lines are records with the name of their vote. Those that answer an attention check say so by ``"check": true``;
    `read_records` passes over them.
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
    of the store that they answer (`FeedbackStore.add_votes`).

    Args:
        store: The store.
        path: Written by `export_votes`, or anything that `read_records` reads.

    Returns:
        How many votes were new.

    Raises:
        DataError: Naming file and line, as `read_records`.
        FileNotFoundError: If there is no file.
    """
    lines = [(record_from_json(row, place), row) for place, row in read_lines(path)]
    kept = store.votes()
    known = Counter(_content(record) for vote in kept for record in vote.records)
    names = {vote.id for vote in kept}
    votes, checks = (
        [vote for vote in _votes([line for line in lines if is_check(line[1]) == kind], known) if not _has(names, vote)]
        for kind in (False, True)
    )
    return store.add_votes(votes, checks)


def _votes(lines: Iterable[tuple[Record, object]], known: Mapping[str, int]) -> list[tuple[str, list[Record]]]:
    """Put the records of each vote together, wherever in the file they are; what it says twice counts once.

    Two projects may have named two votes alike: those are told apart by who answered what.
    """
    found: dict[tuple[str, ...], dict[object, Record]] = {}
    for name, record in _named(lines, known):
        about = record.responses if isinstance(record, Comparison | Ranking) else record.response
        own = found.setdefault((name, record.annotator, record.task_key, record.prompt), {})
        own.setdefault(None if isinstance(record, Demonstration) else (type(record), about), record)
    return [(name, list(records.values())) for (name, *_), records in found.items()]


def _named(lines: Iterable[tuple[Record, object]], known: Mapping[str, int]) -> Iterator[tuple[str, Record]]:
    """Yield records with the names of their votes; one without is named after its content, unless that is known."""
    seen: Counter[str] = Counter()
    for record, row in lines:
        name = row.get("vote") if isinstance(row, dict) else None
        if not isinstance(name, str):
            content = _content(record)
            seen[content] += 1
            if seen[content] <= known.get(content, 0):
                continue
            name = _nameless(content, seen[content])
        yield name, record


def _has(names: Collection[str], vote: tuple[str, Sequence[Record]]) -> bool:
    """Whether all records of a vote were imported before without its name."""
    contents = [_content(record) for record in vote[1]]
    return not vote[0].startswith(contents[0]) and all(_nameless(content, 1) in names for content in contents)


def _nameless(content: str, number: int) -> str:
    return f"{content}-{number}"


def _content(record: Record) -> str:
    """A digest of everything that a record says."""
    return hashlib.sha256(json.dumps(record_to_json(record), sort_keys=True).encode()).hexdigest()[:32]


def _pairs(record: Record) -> list[tuple[str, str]]:
    """Return (better, worse) texts."""
    if isinstance(record, Comparison):
        return [(record.chosen, record.rejected)] if record.choice in ("a", "b") else []
    if isinstance(record, Ranking):
        placed = list(zip(record.ranks, record.responses, strict=True))
        return [(better, worse) for rank, better in placed for other, worse in placed if rank < other]
    if isinstance(record, Demonstration) and record.edited_from not in (None, record.response):
        return [(record.response, str(record.edited_from))]
    return []


def _labels(record: Record) -> list[tuple[str, bool]]:
    if isinstance(record, Comparison):
        known = {"tie": [], "both_bad": [(text, False) for text in record.responses]}
        return known.get(record.choice, [(record.chosen, True), (record.rejected, False)])
    if isinstance(record, Ranking):
        worst = max(record.ranks)
        ends = [
            (text, rank == 1) for text, rank in zip(record.responses, record.ranks, strict=True) if rank in (1, worst)
        ]
        return ends if worst > 1 else []
    if isinstance(record, Rating):
        return [(record.response, record.rating >= _GOOD)] if not _BAD < record.rating < _GOOD else []
    return [(record.response, True)] if isinstance(record, Demonstration) else []


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _write_csv(path: Path, records: Iterable[Record]) -> None:
    columns = ["kind", *dict.fromkeys(field.name for kind in KINDS.values() for field in fields(kind))]
    with (
        replacing(path) as unfinished,
        # Spreadsheet programs take a file for UTF-8 if it begins with a byte order mark.
        open(unfinished, "w", encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(columns)
        table.writerows(_cells(record_to_json(record), columns) for record in records)


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[str | float]:
    return [_cell(row.get(column)) for column in columns]


def _cell(value: Any) -> str | float:
    """Return what a spreadsheet shows for a value; an apostrophe keeps a text from being a formula.

    References:
        OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = _AFTER_SEMICOLON.sub(r"\1'", text)
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _write_preferences(path: Path, records: Iterable[Record]) -> None:
    write_lines(path, to_preference_rows(records))


def _write_labels(path: Path, records: Iterable[Record]) -> None:
    write_lines(path, to_labelled_rows(records))


def _write_records(path: Path, records: Iterable[Record]) -> None:
    write_lines(path, map(record_to_json, records))


_WRITERS: Mapping[Form, Callable[[Path, Iterable[Record]], None]] = {
    "records": _write_records,
    "preferences": _write_preferences,
    "labels": _write_labels,
    "csv": _write_csv,
}
