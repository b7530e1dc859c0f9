"""The page of a run: one file in HTML with plots, measures, samples with marked changes, settings, how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from textgym.pages import (
    card,
    code,
    definitions,
    escaped,
    image,
    note,
    page,
    png_image,
    prompt,
    shown,
    svg_of,
    table,
    with_changes,
)
from textgym.plots import plot_panels
from textgym.security.foreign import require_regular
from textgym.text.plurals import counted
from textgym.training.comparison.tables import Table
from textgym.training.run_report import Pair, RunReport, Sampled

_PLOTS = {
    "reward_report.png": "Calibration, accuracy by length, learning curve",
    "rounds.png": "Reward, quality, wins and accuracy of every round",
    "comparison.png": "Measures of each model with intervals",
}
"""Plots of commands that keep no log, by their files."""
_LARGEST = 2**23
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def html_of(report: RunReport) -> str:
    """Return the page. It is one file, which reads no other and runs no script."""
    sections = (_head, _plots, _tables, _samples, _pairs, _use, _settings)
    return page(f"Run {report.facts.folder}", (part for section in sections for part in section(report)))


def _head(report: RunReport) -> Iterator[str]:
    yield note(headline_of(report), "lead")
    if report.facts.reason:
        yield note(f"It failed: {report.facts.reason}", "warn")
    for text in report.warnings:
        yield note(f"Warning: {text}", "warn")


def headline_of(report: RunReport) -> str:
    """Return what the run is, in a line."""
    facts = report.facts
    trained = None if facts.trained is None else counted(int(facts.trained), facts.unit)
    reward = f"reward {facts.reward}" if facts.reward else ""
    began = f"started {facts.started}" if facts.started else ""
    parts = (f"textgym {facts.command}", facts.task, facts.agent, reward, trained, began, facts.state)
    return ", ".join(filter(None, parts))


def _plots(report: RunReport) -> Iterator[str]:
    if report.log:
        yield "<h2>Curves</h2>"
        yield note("The texts that training sampled or learned from, a point for each iteration.")
        yield '<div class="plots">'
        for figure in plot_panels(report.log, report.labels):
            yield image(svg_of(figure), figure.axes[0].get_title())
        yield "</div>"
    for name, meaning in _PLOTS.items():
        found = _png(report.run.path / name)
        if found is not None:
            yield f'<div class="wide">{png_image(found, meaning)}</div>'


def _png(file: Path) -> bytes | None:
    """Return a plot of the run; ``None`` if there is none, or something else is called so."""
    try:
        require_regular(file, _LARGEST)
        content = file.read_bytes()
    except (OSError, ValueError):
        return None
    return content if content.startswith(_SIGNATURE) else None


def _tables(report: RunReport) -> Iterator[str]:
    for each in (*report.tables, report.courses):
        if each is not None:
            yield from _table(each)


def _table(found: Table) -> Iterator[str]:
    yield f"<h2>{escaped(found.title)}</h2>"
    if found.note:
        yield note(found.note)
    yield table(found.header, found.rows)


def _samples(report: RunReport) -> Iterator[str]:
    if not report.samples:
        return
    yield "<h2>Samples through training</h2>"
    yield note(
        "Prompts that nothing is learned from, one sample at temperature 1 each time, with the same seed. Words are "
        "marked that the sample before does not have at that place."
    )
    for sample in report.samples:
        yield f'<h3>{escaped(sample.key)}</h3>{prompt(sample.prompt) if sample.prompt else ""}<div class="texts">'
        yield from _moments(sample, report.unit)
        yield "</div>"


def _moments(sample: Sampled, unit: str) -> Iterator[str]:
    (first, begun), *_ = sample.texts
    yield card(counted(int(first), unit), shown(begun))
    for (_, before), (moment, text) in pairwise(sample.texts):
        yield card(counted(int(moment), unit), with_changes(text, before), "" if text != before else "the same")


def _pairs(report: RunReport) -> Iterator[str]:
    if not report.pairs:
        return
    yield "<h2>Held-out texts</h2>"
    if any(pair.before is not None for pair in report.pairs):
        yield note("The same prompts and seeds before and after training; changed words are marked.")
    for pair in report.pairs:
        yield f'<h3>{escaped(pair.key)}</h3><div class="texts">{"".join(_sides(pair))}</div>'


def _sides(pair: Pair) -> Iterator[str]:
    rewards = ["" if reward is None else f"reward {reward:.3g}" for reward in pair.rewards]
    if pair.before is not None:
        yield card("before", shown(pair.before), rewards[0])
    yield card("after" if pair.before is not None else "text", with_changes(pair.after, pair.before), rewards[1])


def _use(report: RunReport) -> Iterator[str]:
    yield "<h2>Resume</h2>"
    words, command = report.resuming()
    yield note(words)
    if command:
        yield code(command)
    lines = report.loading()
    if lines:
        yield "<h2>Load</h2>"
        yield code("\n".join(lines))


def _settings(report: RunReport) -> Iterator[str]:
    yield "<h2>Settings</h2>"
    if report.changed:
        yield "<h3>Other than the defaults</h3>"
        yield definitions(report.changed)
    same = {name: value for name, value in report.settings.items() if name not in report.changed}
    if same:
        yield "<h3>Defaults</h3>"
        yield definitions(same)
    yield "<h2>Versions</h2>"
    yield definitions(report.versions)
