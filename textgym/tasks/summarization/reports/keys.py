"""Keys of the built-in corpus: ``reports/train/17``, or ``reports@3/train/17`` for the corpus of seed 3."""

from __future__ import annotations

from textgym.data.generated import parse_key
from textgym.tasks.summarization.reports.generator import Facts, draw_facts
from textgym.types import Example

NAME = "reports"


def facts(item: str | Example) -> Facts:
    """Regenerate the facts of an item from its key (nothing in an :class:`~textgym.types.Example` holds them).

    Raises:
        KeyError: The key names no item of the corpus.
    """
    return draw_facts(*parse_key(NAME, item if isinstance(item, str) else item.key))
