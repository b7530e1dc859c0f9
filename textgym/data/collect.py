"""The examples of one split made of rows: pairing, splitting, merging, counting."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from textgym.data.columns import Columns, Pair, choose_columns, missing_column, read_pair
from textgym.data.dataset import InMemoryDataset, LoadReport, prompt_digest, split_of
from textgym.data.files import Problem, Row
from textgym.errors import DataError
from textgym.types import Example, Shown, Split, shown_text

_ROWS_FOR_GUESS = 100
_PROBLEMS_KEPT = 20
_PROBLEMS_SHOWN = 5
_READING_ORDER: tuple[Split, ...] = ("test", "validation", "train")


class Part(NamedTuple):
    """Rows that belong together. Where a split has no part of its own, it is cut out of the train rows by hash."""

    home: Split
    rows: Iterable[Row | Problem]


@dataclass(slots=True)
class _Draft:
    where: str
    split: Split
    prompt: Shown
    references: dict[str, None]
    extra: Mapping[str, object]


@dataclass(slots=True)
class _Collector:
    """Merges pairs by prompt and counts what happened to every row."""

    own_splits: frozenset[Split]
    drafts: dict[str, _Draft] = field(default_factory=dict)
    columns_seen: dict[str, None] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    differing: Counter[str] = field(default_factory=Counter)
    rows_read: int = 0
    duplicates: int = 0

    def add(self, home: Split, item: Row | Problem, columns: Columns) -> None:
        """Take in one row."""
        self.rows_read += 1
        if (problem := self._take(home, item, columns)) is not None:
            self._skip(problem)

    def _take(self, home: Split, item: Row | Problem, columns: Columns) -> Problem | None:
        """Merge one row; return why it cannot be."""
        match item:
            case Problem():
                return item
        self.columns_seen.update(dict.fromkeys(item.values))
        match read_pair(item, columns):
            case Problem() as problem:
                return problem
            case pair:
                return self._merge(home, item.where, pair)

    def _skip(self, problem: Problem) -> None:
        self.skipped[problem.kind] += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(f"{problem.where}: {problem.kind}: {problem.detail}")

    def _merge(self, home: Split, where: str, pair: Pair) -> Problem | None:
        digest = prompt_digest(shown_text(pair.prompt))
        split = self._split(home, digest)
        draft = self.drafts.get(digest)
        if draft is None:
            self.drafts[digest] = _Draft(where, split, pair.prompt, dict.fromkeys(pair.references), pair.extra)
        elif draft.split != split:
            return Problem(where, "in another split", f"the same prompt is part of the {draft.split} split")
        else:
            self.duplicates += all(reference in draft.references for reference in pair.references)
            draft.references.update(dict.fromkeys(pair.references))
            names = {*draft.extra, *pair.extra}
            self.differing.update(name for name in names if draft.extra.get(name) != pair.extra.get(name))
        return None

    def _split(self, home: Split, digest: str) -> Split:
        if home != "train":
            return home
        split = split_of(digest)
        return "train" if split in self.own_splits else split

    def drop_unanswered(self, split: Split) -> None:
        """Leave out the prompts of ``split`` without a reference if others have one: measures need it of all or none.

        Such a prompt was one kept row: every further row of it had no reference either, and counts as a duplicate.
        """
        drafts = {digest: draft for digest, draft in self.drafts.items() if draft.split == split}
        bare = {digest: draft for digest, draft in drafts.items() if not draft.references}
        if len(bare) == len(drafts):
            return
        for digest, draft in bare.items():
            del self.drafts[digest]
            self._skip(Problem(draft.where, "no reference", "expected an answer as in other rows, got none"))

    def report(self) -> LoadReport:
        kept = self.rows_read - self.duplicates - self.skipped.total()
        return LoadReport(
            self.rows_read, kept, self.duplicates, dict(self.skipped), tuple(self.problems), dict(self.differing)
        )

    def examples(self, name: str, split: Split) -> list[Example]:
        return [
            Example(f"{name}/{digest}", draft.prompt, tuple(draft.references), extra=draft.extra)
            for digest, draft in self.drafts.items()
            if draft.split == split
        ]


def build_dataset(
    name: str,
    split: Split,
    parts: Sequence[Part],
    prompt_column: str | None = None,
    reference_column: str | None = None,
) -> InMemoryDataset:
    """Build one split of a data set.

    Prompts are kept as they are, references lose blanks at both ends. Rows with the same prompt become one example,
    whose ``extra`` holds the other columns of the first of them; a prompt found in several parts belongs to the first
    of test, validation, train. Of the examples of a split, either all have references or none has.

    Args:
        name: Name of the data set, the beginning of every key.
        split: The wanted split.
        parts: All parts; each split may have several.
        prompt_column: Column of the prompt; guessed if ``None``.
        reference_column: Column of the references; guessed if ``None``.

    Raises:
        DataError: If a column is missing, no usable row is left, or the wanted split is empty.
    """
    own_splits = frozenset(part.home for part in parts)
    collector = _Collector(own_splits)
    stream = _stream(_needed(parts, split, own_splits))
    head = list(itertools.islice(stream, _ROWS_FOR_GUESS))
    rows = [item for _, item in head if isinstance(item, Row)]
    columns = choose_columns(rows, prompt_column, reference_column) if rows else Columns("", None)
    for home, item in itertools.chain(head, stream):
        collector.add(home, item, columns)
    for option, column in (("prompt_column", prompt_column), ("reference_column", reference_column)):
        if column is not None and collector.columns_seen and column not in collector.columns_seen:
            raise missing_column(option, column, collector.columns_seen)
    collector.drop_unanswered(split)
    return _finish(name, split, collector)


def _needed(parts: Sequence[Part], split: Split, own_splits: frozenset[Split]) -> list[Part]:
    """Return the parts that decide about ``split``, in reading order."""
    if split not in own_splits and "train" not in own_splits:
        found = ", ".join(sorted(own_splits)) or "nothing"
        raise DataError(f"expected data for the {split} or the train split, got {found}. Add a file train.jsonl.")
    last = split if split in own_splits else "train"
    homes = _READING_ORDER[: _READING_ORDER.index(last) + 1]
    return [part for home in homes for part in parts if part.home == home]


def _stream(parts: Sequence[Part]) -> Iterator[tuple[Split, Row | Problem]]:
    for part in parts:
        for item in part.rows:
            yield part.home, item


def _finish(name: str, split: Split, collector: _Collector) -> InMemoryDataset:
    report = collector.report()
    examples = collector.examples(name, split)
    if not collector.drafts:
        raise DataError(_nothing_left(name, report))
    if not examples:
        raise DataError(
            f"expected at least one example in the {split} split of {name!r}, got none: its {len(collector.drafts)} "
            "different prompts all fall into other splits (80/10/10 by hash of the prompt). Add rows, or give a folder "
            "with train.jsonl, validation.jsonl and test.jsonl."
        )
    return InMemoryDataset(name, split, examples, report)


def _nothing_left(name: str, report: LoadReport) -> str:
    if report.rows_read == 0:
        return f"expected rows in {name!r}, got an empty data set. Give one object per line or row."
    first = "\n".join(f"  {problem}" for problem in report.problems[:_PROBLEMS_SHOWN])
    return (
        f"expected at least one usable row in {name!r}, got none ({report}). Name other columns with "
        f"prompt_column=... and reference_column=..., or fix the first problems:\n{first}"
    )
