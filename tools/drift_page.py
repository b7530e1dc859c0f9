"""The table of tools/drift.py, on the terminal and in docs/compatibility.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lock import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
START, END = "<!-- drift -->", "<!-- /drift -->"
_ALWAYS = ("torch", "transformers")
_MOST_FAILURES = 10


class Finished(Protocol):
    """The cells of a row in the table."""

    row: str
    python: str
    system: str
    commit: str
    day: str
    imported: Mapping[str, str]
    passed: int
    failed: int
    skipped: int
    failures: Sequence[str]
    reason: str


def table(results: Sequence[Finished], locked: Mapping[str, str]) -> list[str]:
    """Return the lines of a Markdown table: a row for each environment."""
    lines = ["| environment | really imported | passed | failed | skipped |", "|---|---|---|---|---|"]
    for result in results:
        counts = [str(count) for count in (result.passed, result.failed, result.skipped)]
        cells = [result.row, _versions(result, locked), *counts]
        if result.reason:
            cells = [result.row, f"not run: {_cell(result.reason)}", "-", "-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _versions(result: Finished, locked: Mapping[str, str]) -> str:
    """Name torch, transformers, and what else differs from the locked versions."""
    others = [name for name, version in result.imported.items() if locked.get(name) != version and name not in _ALWAYS]
    return ", ".join(f"{name} {result.imported[name]}" for name in (*_ALWAYS, *others) if name in result.imported)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _failures(results: Sequence[Finished]) -> list[str]:
    lines = []
    for result in results:
        if result.failures:
            lines += ["", f"Failed with {result.row}:", ""]
            lines += [f"- `{name}`" for name in result.failures[:_MOST_FAILURES]]
            more = len(result.failures) - _MOST_FAILURES
            lines += [f"- and {more} more"] if more > 0 else []
    return lines


def print_table(results: Sequence[Finished], locked: Mapping[str, str]) -> None:
    """Print the table and the names of tests that failed."""
    print("\n".join([*table(results, locked), *_failures(results)]))


def page_with(page: str, results: Sequence[Finished], locked: Mapping[str, str]) -> str:
    """Return the page with the table between its markers replaced; everything else stays.

    Raises:
        ValueError: The page lacks the markers.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"expected {START} and {END} in {PAGE}, got a page without; put them where the table belongs")
    runs = sorted({(result.day, result.commit, result.python, result.system) for result in results})
    stamps = [f"{day}, {system}, Python {python}, commit {commit}" for day, commit, python, system in runs]
    lines = ["", *table(results, locked), *_failures(results), "", f"Run on: {'; '.join(stamps)}.", ""]
    return before + start + "\n".join(lines) + end + after


def write_page(results: Sequence[Finished], locked: Mapping[str, str]) -> None:
    """Write the table into docs/compatibility.md."""
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), results, locked), encoding="utf-8")
    print(f"written into {PAGE.relative_to(ROOT)}")
