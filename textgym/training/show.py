"""``textgym show``: the report of a run in the terminal, and as a page."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from textgym import console
from textgym.files.disk import replace_text
from textgym.training.comparison.report import write_report
from textgym.training.comparison.run import read_comparison
from textgym.training.comparison.tables import Table, markdown_of
from textgym.training.run_facts import COMPARISONS
from textgym.training.run_folder import PAGE, RunFolder
from textgym.training.run_page import headline_of, html_of
from textgym.training.run_report import RunReport, read_report


def run_show(folder: str, *, open_page: bool = False) -> Path | None:
    """Print the report of a run, and write the page beside its files.

    Args:
        folder: The run, which may be somebody else's, or still be going on.
        open_page: Also open the page in the browser.

    Returns:
        The page; ``None`` where it could not be written.

    Raises:
        RunFolderError: There is no run.
        CheckpointError: A file of it is damaged.
    """
    run = RunFolder.open(folder)
    page = run.path / PAGE
    try:
        if run.stored("command", "") in COMPARISONS:
            comparison = read_comparison(run.path)
            console.say(markdown_of(comparison))
            write_report(comparison, page)
        else:
            report = read_report(run)
            print_report(report)
            replace_text(page, html_of(report))
    except OSError as error:
        console.warn(f"the page could not be written ({error})")
        return None
    console.say(f"\nPage: {Path(run.shown) / PAGE}")
    if open_page and not webbrowser.open(page.as_uri()):
        console.warn(f"no browser was found; open {page}")
    return page


def print_report(report: RunReport) -> None:
    """Print measures, courses, settings and what to do with the run."""
    console.say(f"{report.facts.folder}: {headline_of(report)}", style="bold")
    if report.facts.reason:
        console.warn(f"it failed: {report.facts.reason}")
    for table in report.tables:
        _print_table(table)
    if report.courses is not None:
        _print_table(report.courses)
    if report.changed:
        console.heading("Settings other than the defaults")
        console.print_rows(("setting", "value"), list(report.changed.items()))
    console.heading("Versions")
    console.say(", ".join(f"{name} {text}" for name, text in report.versions.items()) or "unknown")
    console.heading("Resume")
    for line in filter(None, report.resuming()):
        console.say(line)
    lines = report.loading()
    if lines:
        console.heading("Load")
        for line in lines:
            console.say(line)
    if report.warnings:
        console.say()
    for text in report.warnings:
        console.warn(text)


def _print_table(table: Table) -> None:
    console.heading(table.title)
    if table.note:
        console.say(table.note, style="dim")
    console.print_rows(table.header, table.rows)
