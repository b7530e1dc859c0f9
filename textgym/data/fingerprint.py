"""The fingerprint of a data set: a short text that changes when any content does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from textgym.types import Dataset, Example, shown_messages
from textgym.values import attribute_of


def fingerprint(dataset: Dataset) -> str:
    """Return a digest of all keys, prompts, references, demonstrations and other columns of a split, in their order.

    A data set that makes its examples on demand, of which there may be a great many, has a method ``fingerprint()`` of
    its own.
    """
    own = attribute_of(dataset, "fingerprint")
    if callable(own):
        return str(own())
    return f"{len(dataset)} examples, sha256 {digest(dataset[place] for place in range(len(dataset)))}"


def digest(examples: Iterable[Example]) -> str:
    """Return a digest of examples, in their order."""
    state = hashlib.sha256()
    for item in examples:
        row = [
            item.key,
            item.text,
            item.references,
            item.demonstrations,
            shown_messages(item.prompt),
            *([item.extra] if item.extra else []),
        ]
        state.update(
            json.dumps(row, default=str).encode()
        )  # ASCII, with marks between texts: no two lists of them read alike
    return state.hexdigest()
