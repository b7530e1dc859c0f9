"""The README.md of a model folder, in the form that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from textgym.hub import SHIPPED
from textgym.security.escaping import markdown_cell
from textgym.versions import versions

CARD = "README.md"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def write_card(
    folder: Path,
    *,
    method: str,
    start_model: str,
    facts: Iterable[tuple[str, str]] = (),
    sections: Mapping[str, str] | None = None,
) -> None:
    """Write ``README.md`` beside the weights: how the model was made, how to load it, versions.

    Args:
        folder: The model folder.
        method: Method that changed the start model, as a phrase.
        start_model: Its name; a Hub id becomes the ``base_model`` that the Hub links to.
        facts: Further rows of the first table.
        sections: Further sections by title, in Markdown.
    """
    rows = [("Start model", start_model), ("Method", method), *facts]
    parts = {"Use": _use(folder), **(sections or {}), "Versions": table(("package", "version"), versions().items())}
    text = f"{_front_matter(start_model)}\n# A language model trained with textgym\n\n{table(('', ''), rows)}"
    text += "".join(f"\n## {title}\n\n{part}" for title, part in parts.items())
    (folder / CARD).write_text(text, encoding="utf-8")


def table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table; what its cells say is shown as it is."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(markdown_cell(str(cell)) for cell in line)} |\n" for line in lines)


def _front_matter(start_model: str) -> str:
    is_hub_id = _HUB_ID.fullmatch(start_model) and start_model not in SHIPPED and not Path(start_model).is_dir()
    base = f'base_model: "{start_model}"\n' if is_hub_id else ""
    return f"---\nlibrary_name: transformers\npipeline_tag: text-generation\n{base}tags: [textgym]\n---\n"


def _use(folder: Path) -> str:
    names = ["AutoModelForCausalLM", *(["AutoTokenizer"] if (folder / "tokenizer.json").is_file() else [])]
    variables = {"AutoModelForCausalLM": "model", "AutoTokenizer": "tokenizer"}
    lines = [f'{variables[name]} = {name}.from_pretrained(".")\n' for name in names]
    return f"```python\nfrom transformers import {', '.join(names)}\n\n{''.join(lines)}```\n"
