"""Feedback about texts: records, the store that collects them, and simulated people who give them."""

from textgym.feedback.annotators.comparisons import from_preference_rows, make_questions, split_records
from textgym.feedback.annotators.simulated import (
    BradleyTerryAnnotator,
    Habits,
    Scorer,
    SimulatedPerson,
    reward_scorer,
    simulated_people,
)
from textgym.feedback.answers import (
    Behaviour,
    By,
    answer_compare,
    answer_edit,
    answer_natural,
    answer_rank,
    answer_rate,
)
from textgym.feedback.entries import Assignment, Planned, Vote
from textgym.feedback.exchange import (
    Form,
    export_records,
    export_votes,
    import_votes,
    to_labelled_rows,
    to_preference_rows,
)
from textgym.feedback.panel import Panel
from textgym.feedback.people import People
from textgym.feedback.questions import export_questions, import_questions
from textgym.feedback.records import read_comparisons, read_records, shown_order, write_records
from textgym.feedback.statistics.agreement import (
    agreement_interval,
    alpha_over_time,
    cohen_kappa,
    collect_answers,
    krippendorff_alpha,
    position_bias,
    raw_agreement,
)
from textgym.feedback.statistics.learning_curve import AccuracyPoint, accuracy_curve, add_accuracy
from textgym.feedback.statistics.strengths import WinRates, bradley_terry_scores, win_rates
from textgym.feedback.store.project import FeedbackStore, VoteConflictError

__all__ = [
    "AccuracyPoint",
    "Assignment",
    "Behaviour",
    "BradleyTerryAnnotator",
    "By",
    "FeedbackStore",
    "Form",
    "Habits",
    "Panel",
    "People",
    "Planned",
    "Scorer",
    "SimulatedPerson",
    "Vote",
    "VoteConflictError",
    "WinRates",
    "accuracy_curve",
    "add_accuracy",
    "agreement_interval",
    "alpha_over_time",
    "answer_compare",
    "answer_edit",
    "answer_natural",
    "answer_rank",
    "answer_rate",
    "bradley_terry_scores",
    "cohen_kappa",
    "collect_answers",
    "export_questions",
    "export_records",
    "export_votes",
    "from_preference_rows",
    "import_questions",
    "import_votes",
    "krippendorff_alpha",
    "make_questions",
    "position_bias",
    "raw_agreement",
    "read_comparisons",
    "read_records",
    "reward_scorer",
    "shown_order",
    "simulated_people",
    "split_records",
    "to_labelled_rows",
    "to_preference_rows",
    "win_rates",
    "write_records",
]
