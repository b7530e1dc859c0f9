"""The one door to data: lists of examples, files, folders and data sets of the Hugging Face Hub."""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textgym.data.collect import Part, build_dataset
from textgym.data.dataset import InMemoryDataset, LoadReport, check_split, prompt_digest, split_of
from textgym.data.files import SUFFIXES, DataWarning, Problem, Row, suffix_of
from textgym.data.folders import file_part, folder_parts, keep_named, split_named
from textgym.data.shapes import is_chat_of_turns
from textgym.errors import DataError, MissingExtraError, did_you_mean, suggested
from textgym.files.paths import name_of, user_path
from textgym.naming import argument
from textgym.text.plurals import counted
from textgym.types import Data, Dataset, Example, Split

BuiltIn = Mapping[str, Callable[[Split], Dataset]]
"""Name -> loader of one split: the world that a task brings along."""

_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<config>[^/\\:]+))?")
_HUB_BATCH = 1000
_NAMES_SHOWN = 5
_logger = logging.getLogger("textgym")


def load_examples(
    data: Data,
    split: Split = "train",
    prompt_column: str | None = None,
    reference_column: str | None = None,
    *,
    built_in: BuiltIn | None = None,
    unanswered: str = "",
) -> Dataset:
    """Load one split of a data set.

    Args:
        data: A list of prompts (texts or conversations), of examples, or of rows as dicts; ``"docstrings"`` (prose
            found on every machine); the path of a ``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet`` or ``.txt``
            file (each also with ``.gz``); a folder of such files; or a Hub id: ``"owner/name"`` or
            ``"owner/name:config"``.
        split: ``"train"``, ``"validation"`` or ``"test"``. Files named after splits in a folder and the splits of a
            Hub data set are used; a split that has none of its own is cut out of the train rows by a hash of the
            prompt (80/10/10 where there are no splits at all, as in a list).
        prompt_column: Column of the prompt, a string or a list of chat messages, each ``{"role", "content"}`` or
            ``{"from", "value"}``; a field of an object by its path, as ``"translation.en"``. Guessed per file if
            ``None``, where an instruction with its input, and a passage with a question, are one prompt. Models with
            a chat template get the messages, others the text of them.
        reference_column: Column of the references, a string, a list of strings, ``{"text": ...}`` or chat messages;
            where there is none of that name, but ``name1``, ``name2``, ..., all of them. Guessed per file if
            ``None``, where columns of numbers and of labels are skipped. Rows without a usable cell in it are left
            out, though their prompts belong to their split, and so are chats that nobody answers where others are.
        built_in: Further names and what loads them: the data that a task brings along.
        unanswered: Reference of rows whose cell of references is empty, such as questions without an answer; ``""``:
            they are left out where other rows have references.

    Returns:
        The examples, with all other columns as ``extra``; for files and Hub data sets with a ``report`` of how reading
        went. The columns that were guessed are logged as a warning of the logger ``textgym``, once per data set.

    Raises:
        DataError: If the data cannot be found or read, are no prompts (feedback, a log, ratings), leave more than one
            guess of a column, or nothing usable is left.
        ValueError: If ``split`` is unknown.
        TypeError: If ``data`` is neither a string, a path nor a list of texts, examples or dicts.
    """
    check_split(split)
    known = {**(built_in or {}), **_BUILT_IN}
    named = name_of(data)
    if named is None:
        return _load_list(data, split, prompt_column, reference_column, unanswered)
    if named in known:
        if prompt_column is not None or reference_column is not None:
            raise DataError(
                f"expected no {argument('prompt_column')} and {argument('reference_column')} with the "
                f"built-in {named!r}; leave them out"
            )
        return known[named](split)
    columns = [column for column in (prompt_column, reference_column) if column is not None]
    name, parts = _find(named, known, columns)
    dataset = build_dataset(name, split, parts, prompt_column, reference_column, unanswered)
    report_reading(dataset, str(user_path(named).absolute()))
    return dataset


def _docstrings(split: Split) -> Dataset:
    from textgym.data.docstrings import load_docstrings  # lazy: few need its parser

    return load_docstrings(split)


_BUILT_IN: BuiltIn = {"docstrings": _docstrings}


def _load_list(
    data: object, split: Split, prompt_column: str | None, reference_column: str | None, unanswered: str
) -> Dataset:
    """Return one split of a list of examples, which keep their keys, or of a list of rows."""
    items: list[Any] = list(data) if isinstance(data, Sequence) else []
    if items and all(isinstance(item, Example) for item in items):
        if prompt_column is not None or reference_column is not None:
            raise DataError("expected no prompt_column and reference_column with examples; leave them out")
        chosen = [item for item in items if split_of(prompt_digest(item.text)) == split]
        if not chosen:
            raise DataError(
                f"expected at least one of {counted(len(items), 'examples')} in the {split} split, got none: they are "
                "split 80/10/10 by a hash of the prompt; add examples"
            )
        return InMemoryDataset("examples", split, chosen, LoadReport(divided=len(items)))
    if items and all(isinstance(item, str) or is_chat_of_turns(item) for item in items):
        items = [{"prompt": item} for item in items]
    if items and all(isinstance(item, Mapping) for item in items):
        names = {name for item in items for name in item}
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"expected rows with texts as names of columns, got {next(iter(names))!r}; name them")
        rows = [Row(f"row {number}", dict(item)) for number, item in enumerate(items, start=1)]
        columns = (prompt_column, reference_column)
        dataset = build_dataset("examples", split, [Part("train", rows)], *columns, unanswered)
        report_reading(dataset, "")
        return dataset
    kinds = ", ".join(sorted({type(item).__name__ for item in items})) or type(data).__name__
    raise TypeError(
        f"expected data to be a name, a path, or a list of texts, examples or dicts, got {kinds}; give a string, a "
        'pathlib.Path, prompts such as ["..."], or rows such as [{"prompt": "...", "reference": "..."}]'
    )


def find_rows(data: Data) -> tuple[str, list[Part]] | None:
    """Return the name and the rows of data as they are, without a choice of columns; ``None`` for a list of no rows.

    Raises:
        DataError: If the data cannot be found or read.
    """
    named = name_of(data)
    if named is not None:
        return None if named in _BUILT_IN else _find(named, _BUILT_IN, ())
    items: list[Any] = list(data) if isinstance(data, Sequence) else []
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return "examples", [Part("train", [Row(f"row {number}", dict(row)) for number, row in enumerate(items, start=1)])]


def report_reading(dataset: InMemoryDataset, place: str) -> None:
    """Say what was guessed about the columns, and warn of rows that were left out."""
    report = dataset.report
    for remark in report.remarks:
        _say_once(place, f"{dataset.name}: {remark}")
    if report.skipped:
        message = f"{dataset.name}: {report}. First: {report.problems[0]}. See the report attribute of the data set."
        warnings.warn(message, DataWarning, stacklevel=3)
    if report.differing:
        columns = ", ".join(sorted(report.differing))
        message = f"{dataset.name}: rows of one prompt differ in other columns ({columns}); the first row's are kept"
        warnings.warn(message, DataWarning, stacklevel=3)


@functools.cache
def _say_once(place: str, text: str) -> None:
    """Say something about the data at a place, however many environments have it; commands show it as a remark."""
    _logger.warning("%s", text)


def _find(data: str, built_in: BuiltIn, columns: Collection[str]) -> tuple[str, list[Part]]:
    """Return the name and the parts of the data set that ``data`` names, of which the user named some columns."""
    path = user_path(data)
    if not data:  # the path would be that of the current folder
        raise DataError(_not_found(data, path, built_in))
    if path.is_dir():
        return path.resolve().name, folder_parts(path, columns)
    if path.exists():
        return path.name[: len(path.name) - len(suffix_of(path))], [file_part(path, "train", columns)]
    hub_id = _HUB_ID.fullmatch(data)
    if hub_id and suffix_of(path) not in SUFFIXES:
        return data, _hub_parts(hub_id["name"], hub_id["config"])
    raise DataError(_not_found(data, path, built_in))


def _not_found(data: str, path: Path, built_in: BuiltIn) -> str:
    if path.name == data and suffix_of(path) not in SUFFIXES:
        known = f"expected one of {', '.join(built_in)}, a file, a folder or a Hub id 'owner/name', got {data!r}."
        return known + did_you_mean(data, built_in)
    return f"expected an existing file or folder, got {data!r}.{_suggest_sibling(path)}"


def _suggest_sibling(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {str(folder)!r} does not exist either."
    siblings = [other.name for other in folder.iterdir() if other.is_dir() or suffix_of(other) in SUFFIXES]
    if not siblings:
        return f" {str(folder)!r} holds no data files."
    return suggested(path.name, siblings) or f" {str(folder)!r} holds {_listed(sorted(siblings))}."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _hub_parts(name: str, config: str | None) -> list[Part]:
    loaded = _load_from_hub(name, config)
    homes = {str(key): split_named(str(key)) for key in loaded}
    return [Part(home, _hub_rows(loaded[key], f"{name}[{key}]")) for key, home in keep_named(homes, name)]


def _load_from_hub(name: str, config: str | None) -> dict[str, object]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError.of("data sets from the Hub", "datasets", "data") from error
    call = f"datasets.load_dataset({name!r}{f', {config!r}' if config else ''})"
    try:
        return dict(datasets.load_dataset(name, config))
    except Exception as error:  # the library lets through errors of HTTP clients, file systems and parsers
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"expected a built-in name, an existing path or a Hub data set, got {name!r}: no "
            f"such path exists, and {call} failed with {reason}. Check the name and the network, or give a local file."
        ) from error


def _hub_rows(dataset: Any, label: str) -> Iterator[Row | Problem]:
    number = 0
    for table in dataset.with_format("arrow").iter(batch_size=_HUB_BATCH):
        for values in table.to_pylist():
            number += 1
            yield Row(f"{label}:{number}", values)
