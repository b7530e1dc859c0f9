"""The report of a comparison: one HTML file with plots, tables, what happened, and texts side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from textgym.files.disk import replace_text
from textgym.pages import card, definitions, escaped, image, note, page, prompt, shown, svg_of, table
from textgym.training.comparison.drawing import draw_ends, draw_panel, panels_of
from textgym.training.comparison.findings import findings_of, headline_of
from textgym.training.comparison.results import START, Comparison
from textgym.training.comparison.tables import (
    MAIN,
    Table,
    cost_table,
    improvement_table,
    quality_table,
)
from textgym.types import JsonObject


def write_report(comparison: Comparison, file: str | Path) -> None:
    """Write tables, plots, findings and texts as one HTML file, which needs no other."""
    replace_text(Path(file), html_of(comparison))


def html_of(comparison: Comparison) -> str:
    """Return the page. It is one file, which reads no other and runs no script."""
    title = f"Comparison on {comparison.settings.get('choice', {}).get('env_id', 'an environment')}"
    sections = (_head, _plots, _tables, _findings, _samples, _settings)
    return page(title, (part for section in sections for part in section(comparison)))


def _head(comparison: Comparison) -> Iterator[str]:
    seeds = sorted({run.seed for run in comparison.runs})
    yield note(headline_of(comparison), "lead")
    about = [", ".join(comparison.labels)]
    if comparison.budget is not None:
        about.append(f"budget of each run: {comparison.budget.words}")
    same = "start model, prompts and reward" if comparison.settings.get("model") else "prompts and reward"
    yield note(f"{'; '.join(about)}; seeds {', '.join(map(str, seeds))}; same {same} for all.")
    for text in _notes(comparison):
        yield note(text)


def _notes(comparison: Comparison) -> Iterator[str]:
    """Say what speaks against the figures."""
    if comparison.budget is None:
        yield "The runs were not made for one budget: look at the table of costs beside what they reached."
    if not comparison.settings.get("model"):
        yield "They did not start from one model: the KL of each is to its own."
    machines = {str(sorted(run.machine.items())) for run in comparison.runs}
    if len(machines) > 1:
        yield "The runs were made on different machines: their seconds, speeds and memory cannot be compared."
    counts = {len(comparison.finished(label)) for label in comparison.labels}
    if max(counts, default=0) < 5:
        yield "Intervals of fewer than five seeds are too short: of three, they cover the truth in about 3 of 4 cases."
    if len(counts) > 1:
        yield "Not all agents have as many finished runs."


def _plots(comparison: Comparison) -> Iterator[str]:
    panels = panels_of(comparison)
    if panels:
        yield "<h2>Learning curves</h2>"
        measured = "Measured on held-out prompts" if panels[0].measure == "reward" else "Means of the agents' own texts"
        yield note(
            f"{measured} during training: interquartile mean of the seeds, with its 95 % bootstrap interval as a band."
        )
        yield '<div class="plots">'
        for panel in panels:
            yield image(svg_of(draw_panel(comparison, panel)), f"{panel.title} against {panel.kind}")
        yield "</div>"
    known = [
        name for name in ("reward", "gold", "kl") if any(comparison.after(name, each) for each in comparison.labels)
    ]
    if known:
        yield "<h2>At the end</h2>"
        ends = image(svg_of(draw_ends(comparison, known)), "Means at the end with intervals")
        yield f'<div class="wide">{ends}</div>'


def _tables(comparison: Comparison) -> Iterator[str]:
    yield from _table(quality_table(comparison))
    yield from _table(cost_table(comparison))
    if len(comparison.labels) > 1:
        for measure in ("reward", "gold"):
            if any(comparison.after(measure, label) for label in comparison.labels):
                yield from _table(improvement_table(comparison, measure))
    others = [name for name in comparison.measures() if name not in MAIN]
    if others:
        yield from _table(quality_table(comparison, others)._replace(title="Other measures of held-out texts", note=""))


def _findings(comparison: Comparison) -> Iterator[str]:
    yield "<h2>What happened</h2>"
    for label in comparison.ranked:
        yield f"<h3>{escaped(label)}</h3><p>{escaped(' '.join(findings_of(comparison, label)))}</p>"


def _samples(comparison: Comparison) -> Iterator[str]:
    found = comparison.samples()
    if not found:
        return
    yield "<h2>Texts side by side</h2>"
    yield note("Held-out prompts, one sample each, of the first seed.")
    for first, texts in found:
        yield f'<h3>{escaped(first.key)}</h3>{prompt(first.prompt) if first.prompt else ""}<div class="texts">'
        if first.before is not None:
            yield card(START, shown(first.before))
        for label, sample in texts.items():
            yield card(label, shown(sample.after), "" if sample.reward is None else f"reward {sample.reward:.3g}")
        yield "</div>"


def _settings(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Settings</h2>"
    yield definitions({**_flat(comparison.settings), **_options(comparison), **_machine(comparison)})


def _flat(settings: JsonObject) -> dict[str, str]:
    """Return settings by name; those of the task stand beside the others, and what is not set is left out."""
    own = {name: value for name, value in settings.items() if name not in ("choice", "splits")}
    found = {**settings.get("choice", {}), **own}
    return {name: str(value) for name, value in found.items() if value not in (None, "", {})}


def _options(comparison: Comparison) -> dict[str, str]:
    """Return the options of each agent, and how long its runs were planned to be."""
    found = {}
    for label in comparison.labels:
        first = comparison.runs_of(label)[0]
        options = first.settings.get("options") or {}
        given = ", ".join(f"{name}={value}" for name, value in options.items()) or "its own defaults"
        planned = f"; {first.planned:,} {first.unit} planned" if first.planned else ""
        found[label] = f"{first.agent}, {given}{planned}"
    return found


def _machine(comparison: Comparison) -> Mapping[str, str]:
    found: dict[str, list[str]] = {}
    for run in comparison.runs:
        for kind, values in (("machine", run.machine), ("versions", run.versions)):
            words = ", ".join(f"{name} {value}" for name, value in values.items())
            if words and words not in found.setdefault(kind, []):
                found[kind].append(words)
    return {kind: "; ".join(words) for kind, words in found.items()}


def _table(found: Table) -> Iterator[str]:
    yield f"<h2>{escaped(found.title)}</h2>"
    if found.note:
        yield note(found.note)
    yield table(found.header, found.rows)
