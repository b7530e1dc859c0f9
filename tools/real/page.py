"""The page docs/real-models.md: figures of each study between its markers; the text around them is written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lock import ROOT

PAGE = ROOT / "docs" / "real-models.md"
Figures = Mapping[str, Any]


def markers(study: str) -> tuple[str, str]:
    """Return the lines between which the figures of a study stand."""
    return f"<!-- {study} -->", f"<!-- /{study} -->"


def page_with(page: str, study: str, lines: Sequence[str]) -> str:
    """Return the page with the figures of a study replaced; everything else stays.

    Raises:
        ValueError: The page lacks the markers.
    """
    start, end = markers(study)
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"expected {start} and {end} in {PAGE}, got a page without; put them where the figures belong")
    return "\n".join([before + start, *lines, end + after])


def write_page(folder: Path) -> None:
    """Write the figures of all studies that are finished on files; what was not measured stays as it is."""
    page = PAGE.read_text(encoding="utf-8")
    for study, lines_of in SECTIONS.items():
        file = folder / f"{study}.json"
        figures = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if figures.get("data") is not None:
            page = page_with(page, study, ["", *lines_of(figures), "", *_ending(figures)])
    PAGE.write_text(page, encoding="utf-8")
    print(f"written into {PAGE.relative_to(ROOT)}")


def _ending(figures: Figures) -> list[str]:
    """Return the commands in the order in which they ran, and the machine."""
    commands = ["```", *figures["commands"], "```", ""] if figures["commands"] else []
    return [*commands, f"{figures['day']}, {figures['machine']}.", ""]


def interval(found: Sequence[float] | Mapping[str, float], digits: int = 3) -> str:
    """Return a mean with its 95 % interval.

    >>> interval([0.5, 0.41, 0.59]), interval({"mean": 1.0, "low": 0.5, "high": 1.5}, 1)
    ('0.500 [0.410, 0.590]', '1.0 [0.5, 1.5]')
    """
    mean, low, high = (found[name] for name in ("mean", "low", "high")) if isinstance(found, Mapping) else found
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *([_cell(c) for c in r] for r in rows))]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def similarity_lines(figures: Figures) -> list[str]:
    """Return the section of the similarity reward."""
    rows = [
        [f"`{name}`", str(each["rows"]), interval(each["own"]), interval(each["shuffled"]),
         interval(each["told_apart"]), f"{each['texts_per_second']:.0f}"]
        for name, each in figures["similarity"].items()
    ]  # fmt: skip
    fits = [
        [name, interval(each["accuracy"]), str(each["held_out_pairs"]), f"{each['seconds']:.0f}"]
        for name, each in figures["fits"].items()
    ]
    head = ["file", "rows", "own reference", "another's reference", "own one higher", "texts/s"]
    return [
        *table(head, rows),
        "",
        *table(["comparisons", "held-out accuracy", "held-out preferences", "seconds, start included"], fits),
    ]


def sentiment_lines(figures: Figures) -> list[str]:
    """Return the section of the sentiment reward."""
    names = {
        "cross_validated": f"head on MiniLM embeddings, 5-fold cross-validated on {figures['labelled']} reviews",
        "head": f"the one used below: fitted to {figures['trained_on']}, on {figures['held_out']} others",
        "vader": f"VADER, sign of its compound score (0 in {100 * figures.get('vader_is_0', 0):.0f} % of reviews)",
        "lexicon_of_textgym": "the word list of `TextContinue`'s default reward",
        "more_frequent_label": "always the more frequent label",
    }
    rows = [[text, interval(figures[name])] for name, text in names.items() if name in figures]
    return table(["sentiment by", "accuracy"], rows)


def tuning_lines(figures: Figures) -> list[str]:
    """Return the section of a task that the language model was trained for."""
    measures = [name for name in next(iter(figures["models"].values())) if not name.endswith("_raw")]
    rows = [
        [f"`{model}`", *(interval(found[name], 2) if name in found else "" for name in measures)]
        for model, found in figures["models"].items()
    ]
    seconds = [[f"`{name}`", f"{each / 60:.1f}"] for name, each in figures["seconds"].items()]
    seconds.append(["together", f"{sum(figures['seconds'].values()) / 60:.1f}"])
    return [
        f"{figures['prompts']} test prompts, temperature 1, 95 % intervals.",
        "",
        *table(["model", *measures], rows),
        "",
        *table(["run", "minutes"], seconds),
        "",
        *_samples(figures["samples"]),
    ]


def _samples(samples: Sequence[Figures]) -> list[str]:
    models = list(samples[0]["written"])
    rows = [
        [f"{each.get('sentiment', '')} {each['text']}", *(each["written"][model] for model in models)]
        for each in samples
    ]
    return ["The first text that each writes to prompts of our own:", "", *table(["prompt", *models], rows)]


def tables_lines(figures: Figures) -> list[str]:
    """Return the section of all tasks on files."""
    rows = [
        [each["env_id"], f"`{each['file']}`", str(each["iterations"]), interval(each["before"], 2),
         interval(each["after"], 2), f"{each['seconds']:.0f}"]
        for each in figures["rows"]
    ]  # fmt: skip
    return table(["task", "file", "iterations", "reward before", "reward after", "seconds, all"], rows)


SECTIONS: Mapping[str, Callable[[Figures], list[str]]] = {
    "similarity": similarity_lines,
    "sentiment": sentiment_lines,
    "continue": tuning_lines,
    "dialogue": tuning_lines,
    "tables": tables_lines,
}
"""Study -> the lines of its figures."""
