"""The README.md of a model folder: how the model was made, in words and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgym.runs import versions


def write_model_card(
    folder: Path,
    *,
    method: str,
    start_model: str,
    data: str,
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
    reward: str | None = None,
) -> None:
    """Write ``README.md`` beside the weights.

    Args:
        folder: The model folder.
        method: What was done to the start model, as a phrase.
        start_model: Its name.
        data: What it learnt from.
        settings: All settings.
        summary: Measures as in ``summary.json``.
        reward: What paid it.
    """
    facts = [("Start model", start_model), ("Data", data), ("Method", method)]
    facts += [("Reward", reward)] if reward else []
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [textgym, text-generation]\n---\n",
        f"# A language model trained with textgym\n\nMade by {method}.\n\n",
        _table(("", ""), facts),
        "\n## Measures on unseen prompts\n\n",
        _measures(summary),
        "\n## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n```\n',
        f"\n## Settings\n\n```json\n{json.dumps(settings, indent=2, default=str)}\n```\n",
        "\n## Versions\n\n",
        _table(("package", "version"), list(versions().items())),
    ]
    (folder / "README.md").write_text("".join(parts), encoding="utf-8")


def _measures(summary: Mapping[str, Any]) -> str:
    before, after = summary.get("before", {}), summary.get("after", {})
    rows = [(name, _bounds(before.get(name)), _bounds(after.get(name))) for name in (after or before)]
    if not rows:
        return "None were taken.\n"
    note = f"\nMeans with 95 % intervals over {summary.get('prompts', '?')} prompts, temperature 1.\n"
    return _table(("measure", "before", "after"), rows) + note


def _bounds(interval: Mapping[str, Any] | None) -> str:
    if not interval:
        return ""
    low, high = interval["low"], interval["high"]
    bounds = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{interval['mean']:.4g}{bounds}"


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
