"""A collection of examples in memory, how it is split, and the report of how it was read."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from textgym.errors import did_you_mean
from textgym.text.plurals import counted
from textgym.types import SPLITS, Dataset, Example, Split

_KEYS_COMPARED = 2000  # difflib needs about a millisecond per hundred keys


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The counts of one reading: ``rows_read == rows_kept + duplicates + sum(skipped.values())``.

    Only the files that the asked split depends on are counted.

    Attributes:
        rows_read: Rows met, blank lines aside.
        rows_kept: Rows that became an example or one more reference of an example, of any split.
        duplicates: Rows that repeated a (prompt, references) pair.
        skipped: Number of unusable rows by kind of problem.
        problems: The first problems, each as ``"file:line: what"``.
        differing: Other column -> number of rows that repeat a prompt with another value, of which the first is kept.
        divided: Number of different prompts that a hash divided among the splits; 0 where the data came divided.
        remarks: Statements for people: the columns that were guessed, and the columns of text that are not used.
    """

    rows_read: int = 0
    rows_kept: int = 0
    duplicates: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    differing: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = field(default=(), compare=False)
    divided: int = field(default=0, compare=False)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.skipped.items()))
        counts = f"{self.rows_read} rows read, {self.rows_kept} kept, {self.duplicates} duplicates"
        return f"{counts}, {sum(self.skipped.values())} skipped{f' ({kinds})' if kinds else ''}"


class InMemoryDataset:
    """Examples of one split, held in memory in a fixed order.

    Attributes:
        name: Name of the data set; keys begin with it.
        split: Name of the split.
        report: Counts of the reading.
    """

    def __init__(self, name: str, split: Split, examples: Sequence[Example], report: LoadReport | None = None) -> None:
        self.name = name
        self.split: Split = split
        self.report = report if report is not None else LoadReport()
        self._examples = tuple(examples)
        self._positions = {example.key: index for index, example in enumerate(self._examples)}
        if len(self._positions) != len(self._examples):
            raise ValueError(
                f"expected unique keys in {name!r}, got {len(self._examples) - len(self._positions)} twice"
            )

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self._examples)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.split!r}, {counted(len(self), 'examples')})"

    def find(self, key: str) -> Example:
        """Return the example called ``key``.

        Raises:
            KeyError: If this split has no such example.
        """
        if key not in self._positions:
            raise KeyError(self._no_such_key(key))
        return self._examples[self._positions[key]]

    def _no_such_key(self, key: str) -> str:
        known = list(self._positions)
        close = difflib.get_close_matches(key, known[:_KEYS_COMPARED], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"keys look like {known[0]!r}." if known else "it is empty."
        size = counted(len(self), "examples")
        return f"expected a key of the {self.split} split of {self.name!r} ({size}), got {key!r}; {hint}"


def map_examples(dataset: Dataset, change: Callable[[Example], Example]) -> InMemoryDataset:
    """Return a data set of the same name, split and report, each of whose examples is changed.

    >>> birds = InMemoryDataset("birds", "train", [Example("a", "Name a bird.")])
    >>> map_examples(birds, lambda example: Example(example.key, example.prompt.upper()))[0].prompt
    'NAME A BIRD.'
    """
    changed = [change(dataset[place]) for place in range(len(dataset))]
    report = dataset.report if isinstance(dataset, InMemoryDataset) else None
    return InMemoryDataset(dataset.name, dataset.split, changed, report)


def check_split(split: str) -> None:
    """Raise ``ValueError`` if ``split`` is none of ``train``, ``validation``, ``test``."""
    if split not in SPLITS:
        hint = did_you_mean(str(split), SPLITS)
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}.{hint}")


def describe_split(dataset: Dataset) -> str:
    """Return the split and how many examples it has; of how many, where a hash divided them.

    >>> describe_split(InMemoryDataset("birds", "train", [Example("a", "Name a bird.")], LoadReport(divided=3)))
    'train: 1 of 3 examples, split by a hash of the prompt'
    """
    divided = dataset.report.divided if isinstance(dataset, InMemoryDataset) else 0
    if not divided:
        return f"{dataset.split}: {counted(len(dataset), 'examples')}"
    return f"{dataset.split}: {len(dataset):,} of {counted(divided, 'examples')}, split by a hash of the prompt"


def prompt_digest(prompt: str) -> str:
    """Return 16 hexadecimal digits that depend on the text only, on every machine."""
    return hashlib.blake2b(prompt.encode("utf-8"), digest_size=8).hexdigest()


def split_of(digest: str) -> Split:
    """Return the split that a prompt with this digest belongs to: 80 % train, 10 % validation, 10 % test."""
    bucket = int(digest, 16) % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"
