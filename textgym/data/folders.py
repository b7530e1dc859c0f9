"""Folders of data: which file belongs to which split, and folders of texts by class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from textgym.data.collect import Part
from textgym.data.files import SUFFIXES, TEXT_COLUMN, DataWarning, Row, read_document, read_file, suffix_of
from textgym.errors import DataError
from textgym.types import SPLITS, Split

LABEL_COLUMN = "label"
"""Name of the column of the class, in folders of texts by class."""
_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_UNLABELLED = {"unsup", "unsupervised", "unlabeled", "unlabelled"}
_TEXTS = (".txt", ".txt.gz")
_MOST_SHOWN = 5
_Source = TypeVar("_Source", str, Path)


def folder_parts(folder: Path, named: Collection[str]) -> list[Part]:
    """Return the parts of a folder: its files, by the splits that they are named after.

    Files of text in folders of classes, such as ``train/pos/1.txt``, are one text each, with the class as ``label``.
    Any other ``.txt`` file has a text on each line, and counts only where there are no files of another kind.

    Args:
        folder: The folder.
        named: Columns that the user named.

    Raises:
        DataError: There are no such files.
    """
    files = [path for path in sorted(folder.rglob("*")) if suffix_of(path) in SUFFIXES and path.is_file()]
    files = [path for path in files if not any(name.startswith(".") for name in path.relative_to(folder).parts)]
    if not files:
        raise DataError(f"expected files ending in {', '.join(SUFFIXES)} in {str(folder)!r}, got none")
    texts = [path for path in files if suffix_of(path) in _TEXTS]
    classes = _classes(folder, texts)
    if classes and len(texts) == len(files):
        return _class_parts(folder, texts, classes)
    tables = [path for path in files if suffix_of(path) not in _TEXTS]
    if tables and texts:
        _warn_ignored(f"{folder} has files with columns", [str(path) for path in texts])
    homes = {path: split_named(str(path.relative_to(folder))[: -len(suffix_of(path))]) for path in tables or texts}
    return [file_part(path, home, named) for path, home in keep_named(homes, str(folder))]


def file_part(path: Path, home: Split, named: Collection[str]) -> Part:
    """Return the part that a file is."""
    remark = "every line is one text" if suffix_of(path) in _TEXTS else ""
    return Part(home, read_file(path, named=named), remark)


def _classes(folder: Path, texts: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return the texts in folders of classes: of folders side by side, named after no split, with several texts."""
    siblings: dict[Path, dict[Path, list[Path]]] = {}
    for path in texts:
        home = path.parent
        if home != folder and split_named(home.name) is None:
            siblings.setdefault(home.parent, {}).setdefault(home, []).append(path)
    groups = [homes for homes in siblings.values() if 1 < len(homes) < sum(map(len, homes.values()))]
    return {home: paths for homes in groups for home, paths in homes.items()}


def _class_parts(folder: Path, texts: Sequence[Path], classes: dict[Path, list[Path]]) -> list[Part]:
    """Return the parts of folders of classes, without the texts that have no class."""
    labelled = {home: paths for home, paths in classes.items() if home.name.lower() not in _UNLABELLED} or classes
    ignored = [path if path.parent not in classes else path.parent for path in texts if path.parent not in labelled]
    if ignored:
        _warn_ignored(f"{folder} has texts in folders of classes", list(dict.fromkeys(map(str, ignored))))
    homes = {home: split_named(str(home.relative_to(folder).parent)) for home in labelled}
    return [
        Part(split, _documents(labelled[home]), "every file is one text, and its folder the label")
        for home, split in keep_named(homes, str(folder))
    ]


def _documents(paths: Sequence[Path]) -> Iterator[Row]:
    """Yield the texts of files, one each, with the folder as the label."""
    for path in paths:
        yield Row(f"{path}:1", {TEXT_COLUMN: read_document(path), LABEL_COLUMN: path.parent.name})


def split_named(name: str) -> Split | None:
    """Return the split that the words of ``name`` speak of, if it is one: ``"data/train-00000-of-00002"`` is train."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def keep_named(homes: dict[_Source, Split | None], place: str) -> list[tuple[_Source, Split]]:
    """Drop what belongs to no split, unless nothing does: then everything is cut by hash."""
    named = [(source, home) for source, home in homes.items() if home is not None]
    if not named:
        return [(source, "train") for source in homes]
    ignored = [str(source) for source, home in homes.items() if home is None]
    if ignored:
        _warn_ignored(f"{place} has files or splits named after {', '.join(SPLITS)}", ignored)
    return named


def _warn_ignored(reason: str, ignored: Sequence[str]) -> None:
    more = len(ignored) - _MOST_SHOWN
    shown = ", ".join(ignored[:_MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    warnings.warn(f"{reason}; ignored: {shown}", DataWarning, stacklevel=6)
