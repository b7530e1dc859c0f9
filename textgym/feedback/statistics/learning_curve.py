"""The accuracy of a reward model against the number of labels: stored after each fit, drawn on the dashboard."""

from __future__ import annotations

from typing import Any, NamedTuple

from textgym.feedback.store.project import FeedbackStore
from textgym.types import Interval
from textgym.values import as_list, is_number, is_whole

_SETTING = "accuracy"


class AccuracyPoint(NamedTuple):
    """The accuracy of one fit.

    Attributes:
        labels: Number of answers it was fitted on.
        accuracy: Share of held-out comparisons it orders as people did, with its 95 % interval.
    """

    labels: int
    accuracy: Interval


def add_accuracy(store: FeedbackStore, labels: int, accuracy: Interval) -> None:
    """Note one fit; a later one on as many labels replaces it.

    Raises:
        ValueError: The number of labels is negative, or the interval is no interval of shares.
    """
    mean, low, high = accuracy
    if labels < 0 or not 0 <= low <= mean <= high <= 1:
        raise ValueError(f"expected 0 <= labels and 0 <= low <= mean <= high <= 1, got {labels}, {tuple(accuracy)}")
    row = [labels, mean, low, high]

    def change(rows: Any) -> list[Any]:
        return sorted([*(other for other in rows or [] if other[0] != labels), row])

    store.update_setting(_SETTING, change)


def accuracy_curve(store: FeedbackStore) -> list[AccuracyPoint]:
    """Return what was noted, fewest labels first; what no fit can have noted is left out."""
    rows = [as_list(row) for row in as_list(store.setting(_SETTING, []))]
    return [AccuracyPoint(row[0], Interval(*row[1:])) for row in rows if len(row) == 4 and _is_point(*row)]


def _is_point(labels: object, mean: object, low: object, high: object) -> bool:
    if not (is_whole(labels) and is_number(mean) and is_number(low) and is_number(high)):
        return False
    return 0 <= labels <= 2**53 and 0 <= low <= mean <= high <= 1
