"""Feedback about texts: records of comparisons, and simulated people who give them."""

from textgym.feedback.comparisons import (
    from_preference_rows,
    make_questions,
    read_comparisons,
    split_comparisons,
    to_preference_rows,
    write_comparisons,
    write_preference_rows,
)
from textgym.feedback.simulated import BradleyTerryAnnotator, Scorer, reward_scorer

__all__ = [
    "BradleyTerryAnnotator",
    "Scorer",
    "from_preference_rows",
    "make_questions",
    "read_comparisons",
    "reward_scorer",
    "split_comparisons",
    "to_preference_rows",
    "write_comparisons",
    "write_preference_rows",
]
