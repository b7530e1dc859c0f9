"""The study of sentence embeddings as a reward: similarity to references, and a head fitted to comparisons."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np

from real.bench import Bench, Figures
from textgym.data.source import load_examples
from textgym.metrics import mean_interval, proportion_interval
from textgym.rewards import resolve_reward
from textgym.types import Example, FloatArray, Split

_SETS = (("xsum.jsonl", None, None), ("reviews.en-de.jsonl", "de", "en"))
"""File, column of the text, and column of the reference."""
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def run(bench: Bench) -> Figures:
    """Score texts against their own and against shuffled references, and fit heads to simulated comparisons."""
    rows = _sets(bench)
    return {
        "similarity": {name: _similarity(bench, examples) for name, examples in rows.items()},
        "fits": {
            "built-in reports, samples of the start model compared by gold": _fit(bench, "TextSumm-v1", "reports"),
            **{
                f"{name}, own reference or another's": _fit(bench, "TextGen-v0", f"own-{place}", _ask(bench, examples))
                for place, (name, examples) in enumerate(rows.items())
                if place == 0
            },
        },
    }


def _sets(bench: Bench) -> dict[str, list[Example]]:
    """Return the user's files, or else the built-in reports, as examples with references."""
    found = {}
    for name, prompts, references in _SETS:
        file = bench.file(name)
        if file is not None:
            path = bench.home / file
            loaded = [load_examples(path, split, prompts, references) for split in _SPLITS]
            found[name] = [each[place] for each in loaded for place in range(len(each))][: bench.size.rows]
    return found or {"built-in reports": _reports(bench.size.rows)}


def _reports(rows: int) -> list[Example]:
    import gymnasium as gym

    dataset = gym.make("TextSumm-v1", split="test").unwrapped.task.dataset  # type: ignore[attr-defined]
    return [dataset[place] for place in range(min(rows, 400, len(dataset)))]


def first_sentence(text: str) -> str:
    r"""Return the first line of a text, up to its first full stop.

    >>> first_sentence("Rain fell. The fair was off.\nMore.")
    'Rain fell.'
    """
    line = text.strip().partition("\n")[0]
    return line[: line.index(". ") + 1] if ". " in line else line


def _similarity(bench: Bench, examples: Sequence[Example]) -> Figures:
    """Score the first sentence of each prompt against its own reference and against the next example's."""
    reward = resolve_reward(f"similarity?model={bench.encoder}")
    texts = [first_sentence(example.text) for example in examples]
    reward([""], ["Ready."], examples[:1])  # so that loading is not timed
    start = time.perf_counter()
    own = np.asarray(reward([each.text for each in examples], texts, examples))
    seconds = time.perf_counter() - start
    moved = [*examples[1:], examples[0]]
    other = np.asarray(reward([each.text for each in moved], texts, moved))
    embedded = len({*texts, *(reference for each in examples for reference in each.references)})
    return {
        "rows": len(examples),
        "own": _interval(own),
        "shuffled": _interval(other),
        "told_apart": list(proportion_interval(float((own > other).sum()), len(own))),
        "texts_per_second": embedded / seconds,
    }


def _interval(values: FloatArray) -> list[float]:
    return list(mean_interval(values))


def _ask(bench: Bench, examples: Sequence[Example]) -> list[str]:
    """Write comparisons of each example's reference with the next one's; return the options of ``reward fit``."""
    rows = []
    for place, (example, other) in enumerate(zip(examples, [*examples[1:], examples[0]], strict=True)):
        pair = [example.references[0], other.references[0]]
        first = place % 2  # the better one stands on either side
        rows.append(
            {
                "prompt": example.text,
                "response_a": pair[first],
                "response_b": pair[1 - first],
                "choice": "b" if first else "a",
            }
        )
    file = bench.home / "feedback" / "own.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return ["--feedback", "feedback/own.jsonl"]


def _fit(bench: Bench, env_id: str, name: str, feedback: Sequence[str] = ()) -> Figures:
    """Fit a head, and report the accuracy on comparisons about prompts that it did not see."""
    asked = feedback or ("--pairs", str(bench.size.pairs))
    summary = bench.textgym(
        "reward", "fit", env_id, *asked, "--embeddings", bench.encoder, "--held-out", "0.25", out=f"fit-{name}"
    )
    report = summary.get("report", summary)
    return {
        "accuracy": report["accuracy"],
        "held_out_pairs": report["held_out_pairs"],
        "seconds": summary["wall_seconds"],
    }
