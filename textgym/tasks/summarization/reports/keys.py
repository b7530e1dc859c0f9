"""Keys of the built-in corpus: ``reports/train/17``, or ``reports@3/train/17`` for the corpus of seed 3."""

from __future__ import annotations

from textgym.data.generated import name_of_level, parse_key
from textgym.tasks.summarization.reports.generator import LENGTHS, Facts, draw_facts
from textgym.types import Example

NAME = "reports"
_NAMES = tuple(name_of_level(NAME, level, "medium") for level in LENGTHS)


def facts(item: str | Example) -> Facts:
    """Regenerate the facts of an item from its key (nothing in an :class:`~textgym.types.Example` holds them).

    Raises:
        KeyError: The key names no item of the corpus.
    """
    key = item if isinstance(item, str) else item.key
    name = next((name for name in _NAMES if key.startswith((f"{name}/", f"{name}@"))), NAME)
    return draw_facts(*parse_key(name, key))
