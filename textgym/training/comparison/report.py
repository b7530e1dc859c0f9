"""The report of a comparison: one HTML file with plots, tables, what happened, and texts side by side."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from textgym.files.disk import replace_text
from textgym.security.escaping import printable
from textgym.training.comparison.drawing import draw_ends, draw_panel, panels_of, svg_of
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

_SHOWN = 600  # characters of a prompt that are seen at once
# Nothing but this file is read, and no script is run, whatever the texts of models hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5d6370; --paper: #fff; --line: #d9dce3; --card: #f5f6f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaee; --soft: #a5abb8; --paper: #16181c; --line: #363a44; --card: #20232a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem clamp(.8rem, 3vw, 2.4rem) 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { max-width: 48rem; margin: .4rem 0; }
.soft { color: var(--soft); font-size: .92rem; }
.lead { font-size: 1.1rem; }
.plots { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.plots img, .wide img { width: 100%; height: auto; display: block; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; padding: .3rem; }
.wide { overflow-x: auto; }
.wide img { min-width: 34rem; max-width: 64rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .4rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { background: var(--card); }
tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 600; }
.texts { display: grid; gap: .6rem; margin-top: .6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
.text { background: var(--card); border-radius: 8px; padding: .6rem .8rem; overflow-wrap: anywhere; }
.text b { display: block; font-size: .85rem; }
.text p, .prompt { white-space: pre-wrap; margin: .2rem 0 0; }
.prompt { color: var(--soft); border-left: 3px solid var(--line); padding-left: .8rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
"""


def write_report(comparison: Comparison, file: str | Path) -> None:
    """Write tables, plots, findings and texts as one HTML file, which needs no other."""
    replace_text(Path(file), html_of(comparison))


def html_of(comparison: Comparison) -> str:
    """Return the page. It is one file, which reads no other and runs no script."""
    title = f"Comparison on {comparison.settings.get('choice', {}).get('env_id', 'an environment')}"
    body = "\n".join(
        part for section in (_head, _plots, _tables, _findings, _samples, _settings) for part in section(comparison)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def _head(comparison: Comparison) -> Iterator[str]:
    seeds = sorted({run.seed for run in comparison.runs})
    yield f'<p class="lead">{_text(headline_of(comparison))}</p>'
    names = ", ".join(comparison.labels)
    yield (
        f'<p class="soft">{_text(names)}; budget of each run: {_text(comparison.budget.words)}; seeds '
        f"{_text(', '.join(map(str, seeds)))}; same start model, prompts and reward for all.</p>"
    )
    for note in _notes(comparison):
        yield f'<p class="soft">{_text(note)}</p>'


def _notes(comparison: Comparison) -> Iterator[str]:
    """Say what speaks against the figures."""
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
        yield (
            '<p class="soft">Measured on held-out prompts during training: interquartile mean of the seeds, with its '
            "95 % bootstrap interval as a band.</p>"
        )
        yield '<div class="plots">'
        for panel in panels:
            yield _image(svg_of(draw_panel(comparison, panel)), f"{panel.title} against {panel.kind}")
        yield "</div>"
    known = [
        name for name in ("reward", "gold", "kl") if any(comparison.after(name, each) for each in comparison.labels)
    ]
    if known:
        yield "<h2>At the end</h2>"
        image = _image(svg_of(draw_ends(comparison, known)), "Means at the end with intervals")
        yield f'<div class="wide">{image}</div>'


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
        yield f"<h3>{_text(label)}</h3><p>{_text(' '.join(findings_of(comparison, label)))}</p>"


def _samples(comparison: Comparison) -> Iterator[str]:
    found = comparison.samples()
    if not found:
        return
    yield '<h2>Texts side by side</h2><p class="soft">Held-out prompts, one sample each, of the first seed.</p>'
    for shown, texts in found:
        cut = shown.prompt if len(shown.prompt) <= _SHOWN else f"{shown.prompt[:_SHOWN]} …"
        yield f'<h3>{_text(shown.key)}</h3><div class="prompt">{_text(cut)}</div><div class="texts">'
        if shown.before is not None:
            yield _card(START, shown.before, None)
        for label, sample in texts.items():
            yield _card(label, sample.after, sample.reward)
        yield "</div>"


def _card(title: str, text: str, reward: float | None) -> str:
    earned = "" if reward is None else f' <span class="soft">reward {reward:.3g}</span>'
    return f'<div class="text"><b>{_text(title)}{earned}</b><p>{_text(text or "(empty)")}</p></div>'


def _settings(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Settings</h2><dl>"
    for name, value in {**_flat(comparison.settings), **_options(comparison), **_machine(comparison)}.items():
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"


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


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{_text(table.title)}</h2>"
    if table.note:
        yield f'<p class="soft">{_text(table.note)}</p>'
    yield f'<div class="scroll"><table><thead><tr>{_cells(table.header, "th")}</tr></thead><tbody>'
    for first, *others in table.rows:
        yield f'<tr><th scope="row">{_text(first)}</th>{_cells(others, "td")}</tr>'
    yield "</tbody></table></div>"


def _cells(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells)


def _image(svg: str, meaning: str) -> str:
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img alt="{_text(meaning)}" src="data:image/svg+xml;base64,{data}">'


def _text(text: str) -> str:
    """Return a text as it is shown, whatever is in it."""
    return html.escape(printable(text))
