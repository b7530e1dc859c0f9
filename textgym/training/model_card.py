"""The README.md of a model that a command made: what it learnt from, with which settings, and how good it became."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from textgym.models.card import published_name, table, write_card
from textgym.security.escaping import code_block
from textgym.types import JsonObject
from textgym.values import plain_value

_UNITS: Mapping[str, str] = {
    "kl": "nats per text",
    "length": "tokens",
    "eos": "share of texts that end",
    "held-out loss": "nats per token of the references",
    "held-out preference accuracy": "ties count half",
}


def write_model_card(
    folder: Path,
    *,
    method: str,
    start_model: str,
    data: str,
    settings: Mapping[str, object],
    summary: Mapping[str, object],
    reward: str | None = None,
    own: Collection[str] = (),
) -> None:
    """Write ``README.md`` beside the weights.

    Args:
        folder: The model folder.
        method: Training method and its length, as a phrase.
        start_model: Name of the start model.
        data: Name of the training data.
        settings: All settings; of absolute paths, the card shows what stands behind the run folder, or the name.
        summary: Measures as in ``summary.json``.
        reward: Name of the reward.
        own: Measures of the agent itself in the summary, such as its loss, which have no interval.
    """
    facts = [("Data", data), *([("Reward", published_name(reward, folder.parent))] if reward else [])]
    told = {name: value for name, value in settings.items() if name != "steps" or settings.get("minutes") is None}
    shown = json.dumps(_published(told, folder.parent), indent=2, default=str)
    sections = {"Measures on held-out prompts": _measures(summary, own), "Settings": code_block(shown, "json")}
    write_card(folder, method=method, start_model=start_model, facts=facts, sections=sections)


def _published(value: object, run: Path) -> object:
    """Return settings without the places of this machine: paths are relative to the run, or names."""
    match plain_value(value):
        case Mapping() as members:
            return {name: _published(item, run) for name, item in members.items()}
        case list() | tuple() as items:
            return [_published(item, run) for item in items]
        case str(text):
            return published_name(text, run)
        case other:
            return other


def _measures(summary: JsonObject, own: Collection[str]) -> str:
    before, after = summary.get("before", {}), summary.get("after", {})
    rows = [(_named(name), _bounds(before.get(name)), _bounds(after.get(name))) for name in (after or before)]
    known = {name: summary.get(name) or {} for name in own}
    rows += [
        (_named(f"held-out {name.replace('_', ' ')}"), _short(each.get("before")), _short(each["after"]))
        for name, each in known.items()
        if each.get("after") is not None
    ]
    if not rows:
        return "None were taken.\n"
    note = f"\nMeans with 95 % intervals over {summary.get('prompts', '?')} prompts, temperature 1.\n"
    return table(("measure", "before", "after"), rows) + note


def _named(measure: str) -> str:
    """Return the name of a measure, with its unit if it has one."""
    unit = _UNITS.get(measure)
    return measure if unit is None else f"{measure}, {unit}"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _bounds(interval: Mapping[str, object] | None) -> str:
    if not interval:
        return ""
    low, high = interval["low"], interval["high"]
    bounds = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{interval['mean']:.4g}{bounds}"
