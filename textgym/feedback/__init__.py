"""Feedback about texts: records, the store that collects them, the people who give them, and what they agree on.

==================  ================================================================================================
``types``           The records, questions and the ``Annotator`` protocol.
``records``         Records in files: one parser, JSON lines, other forms, splits. No store.
``store``           The project file, an SQLite database, and what goes in and out of it.
``annotators``      People behind a page, and simulated annotators.
``statistics``      Agreement between annotators, strengths of generators, learning curves.
``server``          The web page (the extra ``textgym[feedback]``).
==================  ================================================================================================

The names below are loaded from these parts when they are first used, so that reading records loads no database.
"""

from typing import TYPE_CHECKING

from textgym.deferred import deferred

if TYPE_CHECKING:
    from textgym.feedback.annotators.pairs import make_questions
    from textgym.feedback.annotators.panel import Panel
    from textgym.feedback.annotators.people import People
    from textgym.feedback.annotators.simulated import (
        BradleyTerryAnnotator,
        Habits,
        Scorer,
        SimulatedPerson,
        reward_scorer,
        simulated_people,
    )
    from textgym.feedback.records.answers import (
        Behaviour,
        By,
        answer_compare,
        answer_edit,
        answer_natural,
        answer_rank,
        answer_rate,
    )
    from textgym.feedback.records.export import Form, export_records
    from textgym.feedback.records.files import load_records, read_comparisons, read_records, write_records
    from textgym.feedback.records.preferences import from_preference_rows, to_labelled_rows, to_preference_rows
    from textgym.feedback.records.splitting import split_records
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
    from textgym.feedback.store.entries import Assignment, Planned, Vote
    from textgym.feedback.store.project import FeedbackStore, VoteConflictError
    from textgym.feedback.store.questions import export_questions, import_questions
    from textgym.feedback.store.votes import export_votes, import_votes
    from textgym.feedback.types import shown_order

_PARTS = {
    "annotators.pairs": ("make_questions",),
    "annotators.panel": ("Panel",),
    "annotators.people": ("People",),
    "annotators.simulated": (
        "BradleyTerryAnnotator", "Habits", "Scorer", "SimulatedPerson", "reward_scorer", "simulated_people",
    ),
    "records.answers": (
        "Behaviour", "By", "answer_compare", "answer_edit", "answer_natural", "answer_rank", "answer_rate",
    ),
    "records.export": ("Form", "export_records"),
    "records.files": ("load_records", "read_comparisons", "read_records", "write_records"),
    "records.preferences": ("from_preference_rows", "to_labelled_rows", "to_preference_rows"),
    "records.splitting": ("split_records",),
    "statistics.agreement": (
        "agreement_interval", "alpha_over_time", "cohen_kappa", "collect_answers", "krippendorff_alpha",
        "position_bias", "raw_agreement",
    ),
    "statistics.learning_curve": ("AccuracyPoint", "accuracy_curve", "add_accuracy"),
    "statistics.strengths": ("WinRates", "bradley_terry_scores", "win_rates"),
    "store.entries": ("Assignment", "Planned", "Vote"),
    "store.project": ("FeedbackStore", "VoteConflictError"),
    "store.questions": ("export_questions", "import_questions"),
    "store.votes": ("export_votes", "import_votes"),
    "types": ("shown_order",),
}  # fmt: skip
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
    "load_records",
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

__getattr__, __dir__ = deferred(__name__, _PARTS)
