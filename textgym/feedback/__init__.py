"""Feedback about texts: records, the store that collects them, and simulated people who give them."""

from textgym.feedback.answers import (
    Behaviour,
    By,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
)
from textgym.feedback.comparisons import from_preference_rows, make_questions, split_comparisons
from textgym.feedback.exchange import (
    Form,
    export_records,
    export_votes,
    import_votes,
    to_labelled_rows,
    to_preference_rows,
)
from textgym.feedback.records import read_comparisons, read_records, shown_order, write_records
from textgym.feedback.simulated import BradleyTerryAnnotator, Scorer, reward_scorer
from textgym.feedback.store import Assignment, FeedbackStore, Vote, VoteConflictError

write_comparisons = write_records

__all__ = [
    "Assignment",
    "Behaviour",
    "BradleyTerryAnnotator",
    "By",
    "FeedbackStore",
    "Form",
    "Scorer",
    "Vote",
    "VoteConflictError",
    "answer_compare",
    "answer_edit",
    "answer_natural",
    "answer_rank",
    "answer_rate",
    "export_records",
    "export_votes",
    "from_preference_rows",
    "import_votes",
    "make_questions",
    "read_comparisons",
    "read_records",
    "reward_scorer",
    "shown_order",
    "split_comparisons",
    "to_labelled_rows",
    "to_preference_rows",
    "write_comparisons",
    "write_records",
]
