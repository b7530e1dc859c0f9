"""Reasons against taking answers at their face value, in sentences: people who are reversed, position bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textgym.feedback.statistics.agreement import position_bias
from textgym.feedback.statistics.opposition import Attention, find_oppositions, undecided_pairs
from textgym.feedback.types import Comparison, Ranking, Record
from textgym.types import Interval


def annotation_concerns(records: Sequence[Record], attention: Attention | None = None) -> list[str]:
    """Return sentences about answers; none if nothing speaks against them.

    Args:
        records: Records of any kind.
        attention: Attention checks by annotator (:func:`~textgym.feedback.statistics.opposition.find_oppositions`).
    """
    oppositions = find_oppositions(records, attention)
    return [*map(str, oppositions), *undecided_pairs(records, oppositions), *_biases(records)]


def _biases(records: Sequence[Record]) -> Iterator[str]:
    said: tuple[tuple[type[Comparison | Ranking], str, str], ...] = (
        (Comparison, "comparisons", "the text shown first (left) wins"),
        (Ranking, "rankings", "the text shown first (top) is ranked before another one"),
    )
    for kind, name, what in said:
        share = position_bias(records, kind)
        if not share.low <= 0.5 <= share.high:
            yield f"Position bias in {name}: {what} in {_percent(share)}; 50 % would be no bias."


def _percent(share: Interval) -> str:
    return f"{100 * share.mean:.0f} % of cases (95 % interval {100 * share.low:.0f} % to {100 * share.high:.0f} %)"
