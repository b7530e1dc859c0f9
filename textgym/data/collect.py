"""The examples of one split made of rows: pairing, splitting, merging, counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from textgym.data.choice import choose_columns, missing_column
from textgym.data.columns import Columns, Pair, has_column, read_pair
from textgym.data.dataset import InMemoryDataset, LoadReport, prompt_digest, split_of
from textgym.data.files import Problem, Row
from textgym.data.nested import begin
from textgym.errors import DataError
from textgym.naming import argument
from textgym.types import Example, Shown, Split, shown_text

_PROBLEMS_KEPT = 20
_PROBLEMS_SHOWN = 5
_READING_ORDER: tuple[Split, ...] = ("test", "validation", "train")


class Part(NamedTuple):
    """Rows that belong together. Where a split has no part of its own, it is cut out of the train rows by hash.

    Attributes:
        home: Split of the rows.
        rows: The rows.
        remark: Statement for people about how they are read.
    """

    home: Split
    rows: Iterable[Row | Problem]
    remark: str = ""


@dataclass(slots=True)
class _Draft:
    where: str
    split: Split
    prompt: Shown
    references: dict[str, None]
    extra: Mapping[str, object]


@dataclass(slots=True)
class _Collector:
    """Merges pairs by prompt and counts what happened to every row.

    Attributes:
        own_splits: The splits that have rows of their own.
        must_answer: Whether a row without a usable reference is left out wherever references are looked for; by
            default only where another row of the same split has some, since tests are published without answers.
    """

    own_splits: frozenset[Split]
    must_answer: bool
    drafts: dict[str, _Draft] = field(default_factory=dict)
    claims: dict[str, Split] = field(default_factory=dict)
    answered: set[Split] = field(default_factory=set)
    waiting: dict[Split, list[tuple[str, Pair]]] = field(default_factory=dict)
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
        match read_pair(item, columns):
            case Problem() as problem:
                return problem
            case pair if pair.problem is not None:
                return self._set_aside(home, item.where, pair)
            case pair:
                if pair.references and home not in self.answered:
                    self._begin_answers(home)
                return self._merge(home, item.where, pair)

    def _set_aside(self, home: Split, where: str, pair: Pair) -> Problem | None:
        """Keep a row without usable references back until another one has some; its prompt belongs to its split."""
        if home != "train":  # nothing is read after train
            self.claims.setdefault(prompt_digest(shown_text(pair.prompt)), home)
        if self.must_answer or home in self.answered:
            return pair.problem
        self.waiting.setdefault(home, []).append((where, pair))
        return None

    def _begin_answers(self, home: Split) -> None:
        """Leave out what was kept back of a split that has references after all."""
        self.answered.add(home)
        for _, pair in self.waiting.pop(home, ()):
            if pair.problem is not None:
                self._skip(pair.problem)

    def end(self) -> None:
        """Take in what was kept back of splits without any reference."""
        for home, pairs in self.waiting.items():
            for where, pair in pairs:
                if (problem := self._merge(home, where, pair)) is not None:
                    self._skip(problem)

    def _skip(self, problem: Problem) -> None:
        self.skipped[problem.kind] += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(f"{problem.where}: {problem.kind}: {problem.detail}")

    def _merge(self, home: Split, where: str, pair: Pair) -> Problem | None:
        digest = prompt_digest(shown_text(pair.prompt))
        split = self._split(home, digest)
        draft = self.drafts.get(digest)
        claimed = draft.split if draft is not None else self.claims.get(digest, split)
        if claimed != split:
            return Problem(where, "in another split", f"the same prompt is part of the {claimed} split")
        if draft is None:
            self.drafts[digest] = _Draft(where, split, pair.prompt, dict.fromkeys(pair.references), pair.extra)
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

    def report(self, remarks: tuple[str, ...]) -> LoadReport:
        kept = self.rows_read - self.duplicates - self.skipped.total()
        counts = (self.rows_read, kept, self.duplicates, dict(self.skipped))
        return LoadReport(*counts, tuple(self.problems), dict(self.differing), remarks, self.divided())

    def divided(self) -> int:
        """Return how many of the prompts a hash divided among splits; 0 if every split has rows of its own."""
        given = self.own_splits - {"train"}
        return 0 if len(given) == len(_READING_ORDER) - 1 else sum(d.split not in given for d in self.drafts.values())

    def examples(self, name: str, split: Split) -> list[Example]:
        return [
            Example(f"{name}/{digest}", draft.prompt, tuple(draft.references), extra=draft.extra)
            for digest, draft in self.drafts.items()
            if draft.split == split
        ]


class _Chooser:
    """Finds the columns of every part; those of a split that have the same columns are read alike.

    Args:
        prompt, reference: The columns that the user named.
        wanted: The split whose rows must have the named references; prompts are needed of all.
    """

    def __init__(self, prompt: str | None, reference: str | None, wanted: Split) -> None:
        self._prompt, self._reference, self._wanted = prompt, reference, wanted
        self._chosen: dict[tuple[Split, frozenset[str]], Columns] = {}
        self._remarks: dict[str, dict[Split, None]] = {}
        self._names: dict[Split, dict[str, None]] = {}
        self._found: set[tuple[Split, str]] = set()

    def choose(self, home: Split, rows: Sequence[Row], read_as: str) -> Columns:
        """Return the columns of a part that begins with these rows.

        Args:
            home: Split of the part.
            rows: Its first rows.
            read_as: Remark about how it is read.

        Raises:
            DataError: As :func:`~textgym.data.choice.choose_columns`.
        """
        if not rows:
            return Columns(("",))
        names = dict.fromkeys(name for row in rows for name in row.values)
        self._names.setdefault(home, {}).update(names)
        key = home, frozenset(names)
        if key not in self._chosen:
            self._chosen[key] = self._choose(home, rows, read_as)
        return self._chosen[key]

    def _choose(self, home: Split, rows: Sequence[Row], read_as: str) -> Columns:
        columns, remark = choose_columns(rows, self._prompt, self._reference, _place(rows[0]))
        if remark := "; ".join(filter(None, (remark, read_as))):
            self._remarks.setdefault(remark, {})[home] = None
        if self._reference is None or columns.references != (self._reference,):
            self._found.add((home, "reference_column"))
        elif home != self._wanted and not any(has_column(row, self._reference) for row in rows):
            return Columns(columns.prompt)
        return columns

    def look(self, home: Split, items: Iterable[Row | Problem]) -> Iterable[Row | Problem]:
        """Return items, and note which of the named columns they have; done when all were met."""
        named = (("prompt_column", self._prompt), ("reference_column", self._reference))
        missing = {option: name for option, name in named if name is not None and (home, option) not in self._found}
        return self._look(home, items, missing) if missing else items

    def _look(self, home: Split, items: Iterable[Row | Problem], missing: dict[str, str]) -> Iterator[Row | Problem]:
        for item in items:
            if missing and isinstance(item, Row):
                for option in [option for option, name in missing.items() if has_column(item, name)]:
                    del missing[option]
                    self._found.add((home, option))
            yield item

    def check(self) -> None:
        """Raise ``DataError`` if a named column is nowhere in the rows of a split that needs it."""
        for home, names in self._names.items():
            place = f"the {home} rows" if len(self._names) > 1 else "the data"
            if self._prompt is not None and (home, "prompt_column") not in self._found:
                raise missing_column("prompt_column", self._prompt, names, place)
            if self._reference is not None and home == self._wanted and (home, "reference_column") not in self._found:
                raise missing_column("reference_column", self._reference, names, place)

    def remarks(self) -> tuple[str, ...]:
        """Return what was chosen, and for which splits where they differ."""
        if len(self._remarks) == 1:
            return tuple(self._remarks)
        return tuple(f"{' and '.join(homes)}: {remark}" for remark, homes in self._remarks.items())


def _place(row: Row) -> str:
    return row.where.rpartition(":")[0] or "the data"


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
    collector = _Collector(own_splits, must_answer=reference_column is not None)
    chooser = _Chooser(prompt_column, reference_column, split if split in own_splits else "train")
    for part in _needed(parts, split, own_splits):
        rows, items = begin(part.rows)
        columns = chooser.choose(part.home, rows, part.remark)
        for item in chooser.look(part.home, items):
            collector.add(part.home, item, columns)
    chooser.check()
    collector.end()
    collector.drop_unanswered(split)
    return _finish(name, split, collector, chooser.remarks())


def _needed(parts: Sequence[Part], split: Split, own_splits: frozenset[Split]) -> list[Part]:
    """Return the parts that decide about ``split``, in reading order."""
    if split not in own_splits and "train" not in own_splits:
        found = ", ".join(sorted(own_splits)) or "nothing"
        raise DataError(f"expected data for the {split} or the train split, got {found}. Add a file train.jsonl.")
    last = split if split in own_splits else "train"
    homes = _READING_ORDER[: _READING_ORDER.index(last) + 1]
    return [part for home in homes for part in parts if part.home == home]


def _finish(name: str, split: Split, collector: _Collector, remarks: tuple[str, ...]) -> InMemoryDataset:
    report = collector.report(remarks)
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
        f"{argument('prompt_column', ...)} and {argument('reference_column', ...)}, or fix the first problems:\n{first}"
    )
