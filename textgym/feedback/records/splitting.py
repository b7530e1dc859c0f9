"""Records of all kinds split by prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from textgym.feedback.types import Feedback
from textgym.types import Shown, shown_text

_Record = TypeVar("_Record", bound=Feedback)


def split_records(
    records: Sequence[_Record], held_out: float = 0.1, seed: int = 0
) -> tuple[list[_Record], list[_Record]]:
    """Split records of any kinds by prompt, so that no prompt is on both sides, white space and case apart.

    The side of a prompt is a function of its text and the seed alone: adding records about other prompts, or shuffling
    them, moves none. With at least two prompts and ``0 < held_out < 1`` neither side is empty.

    Args:
        records: The records.
        held_out: Expected share of prompts on the second side, in ``[0, 1)``.
        seed: Another seed, another split.

    Returns:
        ``(train, held_out)``, each in the order of ``records``.

    Raises:
        ValueError: If ``held_out`` is not in ``[0, 1)``.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"expected a held-out share in [0, 1), got {held_out}; 0.1 holds out a tenth of the prompts")
    normal: dict[Shown, str] = {prompt: _normal(shown_text(prompt)) for prompt in {each.prompt for each in records}}
    texts: dict[str, str] = {}  # prompts that are the same -> the least of them, which decides for all
    for prompt in sorted(map(shown_text, normal)):
        texts.setdefault(_normal(prompt), prompt)
    places = {key: _place(prompt, seed) for key, prompt in texts.items()}
    outside = {prompt for prompt, place in places.items() if place < held_out}
    if held_out > 0 and len(places) > 1:
        ranked = sorted(places, key=lambda prompt: (places[prompt], prompt))
        outside = (outside | {ranked[0]}) - {ranked[-1]}
    sides = [normal[record.prompt] in outside for record in records]
    train = [record for record, is_outside in zip(records, sides, strict=True) if not is_outside]
    return train, [record for record, is_outside in zip(records, sides, strict=True) if is_outside]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(prompt: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the text and the seed."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
