"""Comparison records as JSON lines or (prompt, chosen, rejected) rows, and their split by prompt."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypedDict, get_args

from textgym.data.files import open_bytes
from textgym.errors import DataError
from textgym.types import Choice, Comparison, Question

_FIELDS = tuple(field.name for field in fields(Comparison))
_ROW_FIELDS = ("prompt", "chosen", "rejected")


class PreferenceRow(TypedDict):
    """A comparison the way preference data sets are published: the better text is named, ties do not exist."""

    prompt: str
    chosen: str
    rejected: str


def make_questions(
    prompts: Sequence[str], keys: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
) -> list[Question]:
    """Put ``n`` pairs of responses before an annotator.

    Args:
        prompts: ``n`` formatted prompt texts.
        keys: The ``n`` keys of their examples.
        responses_a: ``n`` texts.
        responses_b: ``n`` texts to compare them with.

    Returns:
        ``n`` questions in the given order.

    Raises:
        ValueError: If the lengths differ.
    """
    lengths = (len(prompts), len(keys), len(responses_a), len(responses_b))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"expected as many prompts as keys and responses, got {lengths[0]} prompts, {lengths[1]} keys, "
            f"{lengths[2]} and {lengths[3]} responses; give one of each per question"
        )
    return [
        Question(key, prompt, a, b) for key, prompt, a, b in zip(keys, prompts, responses_a, responses_b, strict=True)
    ]


def write_comparisons(path: str | Path, records: Iterable[Comparison]) -> None:
    """Write records as JSON lines, one object with the fields of `Comparison` per line; nothing is lost.

    The file is replaced only after the new one is complete.
    """
    _write_lines(Path(path), (asdict(record) for record in records))


def write_preference_rows(path: str | Path, records: Iterable[Comparison]) -> None:
    """Write records as JSON lines of (prompt, chosen, rejected), the form other preference trainers read."""
    _write_lines(Path(path), to_preference_rows(records))


def read_comparisons(path: str | Path) -> list[Comparison]:
    """Read JSON lines written by `write_comparisons` or `write_preference_rows`; blank lines are skipped.

    Args:
        path: A UTF-8 file, unpacked if its name ends in ``.gz``; its lines may be of either kind.

    Returns:
        The records in the order of the file.

    Raises:
        DataError: Naming file and line, if a line is not such an object; naming the file, if it cannot be read.
        FileNotFoundError: If there is no file.
    """
    with open_bytes(Path(path)) as lines:
        return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def to_preference_rows(records: Iterable[Comparison]) -> list[PreferenceRow]:
    """Turn records into (prompt, chosen, rejected) rows; ties are left out, since the row cannot say them."""
    return [
        PreferenceRow(prompt=record.prompt, chosen=record.chosen, rejected=record.rejected)
        for record in records
        if record.choice != "tie"
    ]


def from_preference_rows(rows: Iterable[Mapping[str, Any]], annotator: str = "anonymous") -> list[Comparison]:
    """Turn (prompt, chosen, rejected) rows, for instance of a published data set, into records.

    Args:
        rows: Mappings with the texts ``prompt``, ``chosen`` and ``rejected``; other entries are ignored.
        annotator: Who gave them.

    Returns:
        Records in which response a is the chosen one; the key is a hash of the prompt.

    Raises:
        DataError: Naming the row, if one of the three is missing or not a text.
    """
    return [_from_row(row, f"row {number}", annotator) for number, row in enumerate(rows)]


def split_comparisons(
    records: Sequence[Comparison], held_out: float = 0.1, seed: int = 0
) -> tuple[list[Comparison], list[Comparison]]:
    """Split records by prompt, so that no prompt is on both sides.

    The side of a prompt is a function of its text and the seed alone: adding records, or shuffling them, moves no
    other prompt. With at least two prompts and ``0 < held_out < 1`` neither side is empty.

    Args:
        records: The records.
        held_out: Expected share of prompts on the second side, in ``[0, 1)``.
        seed: Another seed, another split.

    Returns:
        ``(train, held_out)``, each in the order of ``records``.

    Raises:
        ValueError: If ``held_out`` is not in ``[0, 1)``.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"expected a held-out share in [0, 1), got {held_out}; 0.1 holds out a tenth of the prompts")
    places = {prompt: _place(prompt, seed) for prompt in {record.prompt for record in records}}
    outside = {prompt for prompt, place in places.items() if place < held_out}
    if held_out > 0 and len(places) > 1:
        ranked = sorted(places, key=lambda prompt: (places[prompt], prompt))
        outside = (outside | {ranked[0]}) - {ranked[-1]}
    train = [record for record in records if record.prompt not in outside]
    return train, [record for record in records if record.prompt in outside]


def _place(prompt: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the text and the seed."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # surrogatepass: half a surrogate pair is a legal Python text, and must survive the file.
        with open(unfinished, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _read_line(line: bytes, place: str) -> Comparison:
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
        row = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8 text, got other bytes ({error}); save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected one JSON object per line, got {text.strip()[:60]!r} ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(row).__name__}; write one comparison per line")
    if "chosen" in row and "choice" not in row:
        return _from_row(row, place, str(row.get("annotator", "anonymous")))
    return _from_fields(row, place)


def _from_fields(row: Mapping[str, Any], place: str) -> Comparison:
    _check_texts(row, [name for name in _FIELDS if name != "annotator"], place)
    if row["choice"] not in get_args(Choice):
        raise DataError(f"{place}: expected choice 'a', 'b' or 'tie', got {row['choice']!r}; correct the line")
    known = {name: str(row[name]) for name in _FIELDS if name in row}
    return Comparison(**known)  # type: ignore[arg-type]  # checked above


def _from_row(row: Mapping[str, Any], place: str, annotator: str) -> Comparison:
    _check_texts(row, _ROW_FIELDS, place)
    key = hashlib.sha256(row["prompt"].encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Comparison(key, row["prompt"], row["chosen"], row["rejected"], "a", annotator)


def _check_texts(row: Mapping[str, Any], names: Sequence[str], place: str) -> None:
    for name in names:
        if not isinstance(row.get(name), str):
            found = type(row[name]).__name__ if name in row else f"only {', '.join(map(str, row)) or 'nothing'}"
            raise DataError(
                f"{place}: expected a text as {name!r}, got {found}; give a string (a comparison has "
                f"{', '.join(_FIELDS)}, or {', '.join(_ROW_FIELDS)})"
            )
