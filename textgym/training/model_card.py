"""The README.md of a model that a command made: what it learnt from, with which settings, and how good it became."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from textgym.models.card import table, write_card
from textgym.security.escaping import code_block
from textgym.types import JsonObject


def write_model_card(
    folder: Path,
    *,
    method: str,
    start_model: str,
    data: str,
    settings: Mapping[str, object],
    summary: Mapping[str, object],
    reward: str | None = None,
) -> None:
    """Write ``README.md`` beside the weights.

    Args:
        folder: The model folder.
        method: Training method and its length, as a phrase.
        start_model: Name of the start model.
        data: Name of the training data.
        settings: All settings.
        summary: Measures as in ``summary.json``.
        reward: Name of the reward.
    """
    facts = [("Data", data), *([("Reward", reward)] if reward else [])]
    sections = {
        "Measures on held-out prompts": _measures(summary),
        "Settings": code_block(json.dumps(settings, indent=2, default=str), "json"),
    }
    write_card(folder, method=method, start_model=start_model, facts=facts, sections=sections)


def _measures(summary: JsonObject) -> str:
    before, after = summary.get("before", {}), summary.get("after", {})
    rows = [(name, _bounds(before.get(name)), _bounds(after.get(name))) for name in (after or before)]
    if not rows:
        return "None were taken.\n"
    note = f"\nMeans with 95 % intervals over {summary.get('prompts', '?')} prompts, temperature 1.\n"
    return table(("measure", "before", "after"), rows) + note


def _bounds(interval: Mapping[str, object] | None) -> str:
    if not interval:
        return ""
    low, high = interval["low"], interval["high"]
    bounds = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{interval['mean']:.4g}{bounds}"
