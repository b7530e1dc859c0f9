"""Synonyms by WordNet, from the files of its distribution where they are installed."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from textgym.errors import DataError

_PARTS = ("noun", "verb", "adj", "adv")
_NEEDED = "index.noun"
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man")),
    *(("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)
"""Endings of inflected forms, and those of their base forms: the rules of detachment of the manual, morphy(7WN)."""
Folder = Path | zipfile.Path


class WordNet:
    """The sets of synonyms that words are in, read from a folder with ``index.noun``, ``noun.exc`` and so on.

    References:
        Fellbaum (ed.), "WordNet: an electronic lexical database" (1998); formats and base forms are those of
        its manual, wndb(5WN) and morphy(7WN).
    """

    def __init__(self, folder: Folder) -> None:
        """Read the files of a folder, in about a second."""
        self.folder = folder
        self._sets: dict[str, frozenset[str]] = {}
        self._bases: dict[str, tuple[str, ...]] = {}
        for part in _PARTS:
            for word, offsets in _entries(folder / f"index.{part}"):
                self._sets[word] = self._sets.get(word, frozenset()) | {f"{part}:{offset}" for offset in offsets}
            for word, *bases in _exceptions(folder / f"{part}.exc"):
                self._bases[word] = (*self._bases.get(word, ()), *bases)
        self.synsets = lru_cache(maxsize=2**16)(self._synsets)

    def _synsets(self, word: str) -> frozenset[str]:
        """Return the keys of the sets of synonyms that a word in lower case, or its base form, is in."""
        found = self._sets.get(word, frozenset())
        for base in self._bases.get(word) or self._detached(word):
            found |= self._sets.get(base, frozenset())
        return found

    def _detached(self, word: str) -> tuple[str, ...]:
        """Return the first base form that a regular ending leads to, as a tuple; empty without one."""
        if len(word) <= 2 or word.endswith("ss"):
            return ()
        stem, rest = (word.removesuffix("ful"), "ful") if word.endswith("ful") else (word, "")
        forms = (stem.removesuffix(ending) + base for ending, base in _ENDINGS if stem.endswith(ending))
        return next(((form + rest,) for form in forms if form in self._sets), ())


def find_wordnet(folder: str | os.PathLike[str] | None = None) -> Folder | None:
    """Return the folder with WordNet's files: ``folder``, or where the package or NLTK install it; ``None`` if nowhere.

    Args:
        folder: The folder. Without it these are looked at: ``$WNSEARCHDIR``, ``$WNHOME/dict``, ``corpora/wordnet`` and
            ``corpora/wordnet.zip`` in NLTK's data folders, and ``/usr/share/wordnet``.

    Raises:
        DataError: ``folder`` is given, and has no WordNet files.
    """
    if folder is not None:
        given = Path(folder).expanduser()
        if not (given / _NEEDED).is_file():
            raise DataError(
                f"expected a folder with WordNet's files ({_NEEDED} and others), got {str(folder)!r}; name the folder "
                "that holds them, such as ~/nltk_data/corpora/wordnet"
            )
        return given
    return next((place for place in _places() if (place / _NEEDED).is_file()), None)


@cache
def load_wordnet(folder: Folder) -> WordNet:
    """Return the WordNet of a folder, read once."""
    return WordNet(folder)


def _places() -> Iterator[Folder]:
    from nltk import data  # type: ignore[import-untyped]  # lazy: a second to import

    if "WNSEARCHDIR" in os.environ:
        yield Path(os.environ["WNSEARCHDIR"])
    if "WNHOME" in os.environ:
        yield Path(os.environ["WNHOME"], "dict")
    for place in map(Path, data.path):
        yield place / "corpora" / "wordnet"
        packed = place / "corpora" / "wordnet.zip"
        if packed.is_file():
            yield zipfile.Path(packed) / "wordnet"
    yield Path("/usr/share/wordnet")


def _entries(file: Folder) -> Iterator[tuple[str, list[str]]]:
    """Yield words and the offsets of their sets; the licence before them is indented."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            word, _, count, *rest = line.split()
            yield word, rest[-int(count) :]


def _exceptions(file: Folder) -> Iterator[list[str]]:
    """Yield inflected forms with their base forms; a distribution may lack the file."""
    if file.is_file():
        yield from (line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
