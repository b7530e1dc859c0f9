"""The one door to data: lists of examples, files, folders and data sets of the Hugging Face Hub."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from textgym.data.collect import Part, build_dataset
from textgym.data.dataset import InMemoryDataset, check_split, prompt_digest, split_of
from textgym.data.files import SUFFIXES, DataWarning, Problem, Row, read_file, suffix_of
from textgym.errors import DataError, MissingExtraError, did_you_mean
from textgym.files.paths import name_of, user_path
from textgym.types import SPLITS, Data, Dataset, Example, Split

BuiltIn = Mapping[str, Callable[[Split], Dataset]]
"""Name -> loader of one split: the world that a task brings along."""

_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<config>[^/\\:]+))?")
_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_HUB_BATCH = 1000
_MOST_SHOWN = 5
_Source = TypeVar("_Source", str, Path)


def load_examples(
    data: Data,
    split: Split = "train",
    prompt_column: str | None = None,
    reference_column: str | None = None,
    *,
    built_in: BuiltIn | None = None,
) -> Dataset:
    """Load one split of a data set.

    Args:
        data: A list of examples, or of rows as dicts; ``"docstrings"`` (prose found on every machine); the path of a
            ``.jsonl``, ``.json``, ``.csv`` or ``.parquet`` file (each also with ``.gz``); a folder of such files; or
            a Hub id: ``"owner/name"`` or ``"owner/name:config"``.
        split: ``"train"``, ``"validation"`` or ``"test"``. Files named after splits in a folder and the splits of a
            Hub data set are used; a split that has none of its own is cut out of the train rows by a hash of the
            prompt (80/10/10 where there are no splits at all, as in a list).
        prompt_column: Column of the prompt, a string or a list of chat messages, each ``{"role", "content"}`` or
            ``{"from", "value"}``; guessed if ``None``. Models with a chat template get the messages, others the text
            of them.
        reference_column: Column of the references, a string, a list of strings or chat messages; guessed if ``None``,
            where a column of numbers is skipped. Rows without a usable cell in it are left out, and so are chats
            that nobody answers where others are.
        built_in: Further names and what loads them: the data that a task brings along.

    Returns:
        The examples, with all other columns as ``extra``; for files and Hub data sets with a ``report`` of how reading
        went.

    Raises:
        DataError: If the data cannot be found or read, or nothing usable is left.
        ValueError: If ``split`` is unknown.
        TypeError: If ``data`` is neither a string, a path nor a list of examples or dicts.
    """
    check_split(split)
    known = {**(built_in or {}), **_BUILT_IN}
    named = name_of(data)
    if named is None:
        return _load_list(data, split, prompt_column, reference_column)
    if named in known:
        if prompt_column is not None or reference_column is not None:
            raise DataError(
                f"expected no prompt_column and reference_column with the built-in {named!r}; leave them out"
            )
        return known[named](split)
    name, parts = _find(named, known)
    dataset = build_dataset(name, split, parts, prompt_column, reference_column)
    _warn(dataset)
    return dataset


def _docstrings(split: Split) -> Dataset:
    from textgym.data.docstrings import load_docstrings  # lazy: few need its parser

    return load_docstrings(split)


_BUILT_IN: BuiltIn = {"docstrings": _docstrings}


def _load_list(data: object, split: Split, prompt_column: str | None, reference_column: str | None) -> Dataset:
    """Return one split of a list of examples, which keep their keys, or of a list of rows."""
    items = list(data) if isinstance(data, Sequence) else []
    if items and all(isinstance(item, Example) for item in items):
        if prompt_column is not None or reference_column is not None:
            raise DataError("expected no prompt_column and reference_column with examples; leave them out")
        chosen = [item for item in items if split_of(prompt_digest(item.text)) == split]
        if not chosen:
            raise DataError(
                f"expected at least one of the {len(items)} examples in the {split} split, got none: they are split "
                "80/10/10 by a hash of the prompt; add examples"
            )
        return InMemoryDataset("examples", split, chosen)
    if items and all(isinstance(item, Mapping) for item in items):
        rows = [Row(f"row {number}", dict(item)) for number, item in enumerate(items, start=1)]
        dataset = build_dataset("examples", split, [Part("train", rows)], prompt_column, reference_column)
        _warn(dataset)
        return dataset
    kinds = ", ".join(sorted({type(item).__name__ for item in items})) or type(data).__name__
    raise TypeError(
        f"expected data to be a name, a path, or a list of examples or dicts, got {kinds}; give a string, a "
        'pathlib.Path, or rows such as [{"prompt": "...", "reference": "..."}]'
    )


def _warn(dataset: InMemoryDataset) -> None:
    report = dataset.report
    if report.skipped:
        message = f"{dataset.name}: {report}. First: {report.problems[0]}. See the report attribute of the data set."
        warnings.warn(message, DataWarning, stacklevel=3)
    if report.differing:
        columns = ", ".join(sorted(report.differing))
        message = f"{dataset.name}: rows of one prompt differ in other columns ({columns}); the first row's are kept"
        warnings.warn(message, DataWarning, stacklevel=3)


def _find(data: str, built_in: BuiltIn) -> tuple[str, list[Part]]:
    """Return the name and the parts of the data set that ``data`` names."""
    path = user_path(data)
    if not data:  # the path would be that of the current folder
        raise DataError(_not_found(data, path, built_in))
    if path.is_dir():
        return path.resolve().name, _folder_parts(path)
    if path.exists():
        return path.name[: len(path.name) - len(suffix_of(path))], [Part("train", read_file(path))]
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
    return did_you_mean(path.name, siblings) if siblings else f" {str(folder)!r} holds no data files."


def _folder_parts(folder: Path) -> list[Part]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and suffix_of(path) in SUFFIXES]
    files = [path for path in files if not any(name.startswith(".") for name in path.relative_to(folder).parts)]
    if not files:
        raise DataError(f"expected files ending in {', '.join(SUFFIXES)} in {str(folder)!r}, got none")
    homes = {path: _split_named(str(path.relative_to(folder))[: -len(suffix_of(path))]) for path in files}
    return [Part(home, read_file(path)) for path, home in _keep_named(homes, str(folder))]


def _split_named(name: str) -> Split | None:
    """Return the split that the words of ``name`` speak of, if it is one: ``"data/train-00000-of-00002"`` is train."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def _keep_named(homes: dict[_Source, Split | None], place: str) -> list[tuple[_Source, Split]]:
    """Drop what belongs to no split, unless nothing does: then everything is cut by hash."""
    named = [(source, home) for source, home in homes.items() if home is not None]
    if not named:
        return [(source, "train") for source in homes]
    ignored = [str(source) for source, home in homes.items() if home is None]
    if ignored:
        more = len(ignored) - _MOST_SHOWN
        shown = ", ".join(ignored[:_MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        message = f"{place} has files or splits named after {', '.join(SPLITS)}; ignored: {shown}"
        warnings.warn(message, DataWarning, stacklevel=5)
    return named


def _hub_parts(name: str, config: str | None) -> list[Part]:
    loaded = _load_from_hub(name, config)
    homes = {str(key): _split_named(str(key)) for key in loaded}
    return [Part(home, _hub_rows(loaded[key], f"{name}[{key}]")) for key, home in _keep_named(homes, name)]


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
