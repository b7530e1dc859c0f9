"""Real prose that is found on every machine: docstrings of installed Python packages.

The task is to summarise the explaining paragraphs of a docstring; the reference is the summary line that its author
wrote above them. Sources are parsed, never imported. Packages differ between machines, and so do the examples.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from textgym.data.dataset import InMemoryDataset, LoadReport, check_split, prompt_digest, split_of
from textgym.data.prose import Passage, read_docstring
from textgym.errors import DataError
from textgym.files.disk import replace_text
from textgym.files.paths import user_path
from textgym.types import Example, Split

# Distribution and the folder it installs; those that are missing are left out.
PACKAGES: tuple[tuple[str, str], ...] = (
    ("numpy", "numpy"),
    ("scipy", "scipy"),
    ("scikit-learn", "sklearn"),
    ("pandas", "pandas"),
    ("matplotlib", "matplotlib"),
    ("networkx", "networkx"),
    ("sympy", "sympy"),
    ("mpmath", "mpmath"),
    ("nltk", "nltk"),
    ("pillow", "PIL"),
    ("gymnasium", "gymnasium"),
    ("stable-baselines3", "stable_baselines3"),
    ("torch", "torch"),
    ("transformers", "transformers"),
    ("huggingface-hub", "huggingface_hub"),
    ("datasets", "datasets"),
    ("sentence-transformers", "sentence_transformers"),
    ("accelerate", "accelerate"),
    ("peft", "peft"),
    ("tensorboard", "tensorboard"),
    ("werkzeug", "werkzeug"),
    ("jinja2", "jinja2"),
    ("rich", "rich"),
    ("click", "click"),
    ("typer", "typer"),
    ("fsspec", "fsspec"),
    ("joblib", "joblib"),
    ("fonttools", "fontTools"),
    ("setuptools", "setuptools"),
    ("pip", "pip"),
    ("pygments", "pygments"),
    ("anyio", "anyio"),
    ("protobuf", "google"),
    ("hypothesis", "hypothesis"),
    ("pydantic", "pydantic"),
    ("narwhals", "narwhals"),
    ("mypy", "mypy"),
    ("packaging", "packaging"),
    ("markdown", "markdown"),
    ("lxml", "lxml"),
    ("psutil", "psutil"),
    ("filelock", "filelock"),
    ("urllib3", "urllib3"),
    ("requests", "requests"),
    ("tqdm", "tqdm"),
    ("ipython", "IPython"),
    ("docutils", "docutils"),
    ("pytest", "_pytest"),
)
STANDARD_LIBRARY = "python"
PAIRS_KEPT = 12_000

_BYTES_PER_PACKAGE = 32_000_000  # about six seconds of parsing
_LARGEST_FILE = 400_000
_SKIPPED_FOLDERS = frozenset(
    ("test", "tests", "testing", "_vendor", "vendored", "site-packages", "dist-packages", "idlelib", "lib2to3")
)
_CACHE_FORMAT = 1


def load_docstrings(split: Split = "train") -> InMemoryDataset:
    """Return one split of the docstrings of this machine, extracted at the first call and cached.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``; 80/10/10 by hash of the prompt.

    Raises:
        DataError: If no source code is installed beside Python (as in some frozen programs).
    """
    check_split(split)
    passages = _cached_passages(cache_folder() / f"docstrings-{_fingerprint()}.jsonl")
    examples = [
        Example(f"docstrings/{digest}", passage.body, (passage.summary,))
        for passage in passages
        if split_of(digest := prompt_digest(passage.body)) == split
    ]
    if not examples:
        raise DataError(f"expected docstrings for the {split} split, got none: no Python sources are installed here")
    return InMemoryDataset("docstrings", split, examples, LoadReport(len(passages), len(passages)))


def cache_folder() -> Path:
    """Return the folder for derived data: ``$TEXTGYM_CACHE``, else ``textgym`` in the user's cache folder."""
    own = os.environ.get("TEXTGYM_CACHE")
    if own:
        return user_path(own)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "textgym"


def extract_passages(folders: Mapping[str, Path], limit: int = PAIRS_KEPT) -> list[Passage]:
    """Read the docstrings of packages and return pairs of body and summary, in a stable order.

    Args:
        folders: Package name -> folder of its sources.
        limit: Largest number of pairs; large packages give way to small ones.
    """
    bodies: set[str] = set()
    summaries: set[str] = set()
    found: list[list[Passage]] = []
    for folder in folders.values():
        fresh = []
        for passage in _passages_of(folder):
            if passage.body not in bodies and passage.summary not in summaries:
                bodies.add(passage.body)
                summaries.add(passage.summary)
                fresh.append(passage)
        found.append(fresh)
    return _balance(found, limit)


def _balance(groups: Sequence[Sequence[Passage]], limit: int) -> list[Passage]:
    """Take one passage of every group in turn until ``limit`` are taken or all groups are empty."""
    turns = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return list(itertools.islice((passage for passage in turns if passage is not None), limit))


def package_folders() -> dict[str, Path]:
    """Return the source folders of the standard library and of the installed ``PACKAGES``, without importing them."""
    folders = {STANDARD_LIBRARY: Path(sysconfig.get_path("stdlib"))}
    for distribution, package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            located = Path(str(importlib.metadata.distribution(distribution).locate_file(package)))
            folders[package] = located
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def _passages_of(folder: Path) -> Iterator[Passage]:
    for path in _source_files(folder):
        for docstring in _docstrings_of(path):
            passage = read_docstring(docstring)
            if passage is not None:
                yield passage


def _source_files(folder: Path) -> list[Path]:
    """Return source files in an order that mixes subpackages and is the same everywhere, up to the size budget."""
    found = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    shuffled = sorted(found, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())
    sizes = itertools.accumulate(found[name].stat().st_size for name in shuffled)
    return [found[name] for name, size in zip(shuffled, sizes, strict=True) if size <= _BYTES_PER_PACKAGE]


def _walk(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in _SKIPPED_FOLDERS]
        for file in files:
            path = Path(place, file)
            if file.endswith(".py") and not file.startswith("test_") and path.stat().st_size <= _LARGEST_FILE:
                yield path


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foreign code may hold invalid escape sequences
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in _definitions(tree):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring


def _definitions(
    tree: ast.Module,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the module and what is defined in it and in its classes, in order; bodies of functions are left out."""
    yield tree
    waiting: list[ast.stmt] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.ClassDef():
                yield node
                waiting.extend(reversed(node.body))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node


def _fingerprint() -> str:
    """Return a short name for everything that the passages depend on."""
    versions = {STANDARD_LIBRARY: platform.python_version(), "format": str(_CACHE_FORMAT)}
    for distribution, _ in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[distribution] = importlib.metadata.version(distribution)
    text = json.dumps([sys.prefix, versions], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _cached_passages(path: Path) -> list[Passage]:
    passages = _read_cache(path)
    if passages is None:
        passages = extract_passages(package_folders())
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _write_cache(path, passages)
    return passages


def _read_cache(path: Path) -> list[Passage] | None:
    """Return the cached passages, or ``None`` if there are none or the file is damaged."""
    try:
        count, checksum, *lines = path.read_text(encoding="utf-8").splitlines()
        passages = [Passage(*json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError):
        return None
    sound = count == str(len(passages)) and checksum == _checksum(lines)
    return passages if sound else None


def _write_cache(path: Path, passages: Sequence[Passage]) -> None:
    lines = [json.dumps(passage) for passage in passages]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, "\n".join([str(len(lines)), _checksum(lines), *lines]))


def _checksum(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
