"""Simulated annotators who share the questions out among them, and keep their votes in a store as real ones do."""

from __future__ import annotations

from collections.abc import Sequence

from textgym.feedback.annotators.simulated import SimulatedPerson
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.store.tables import digest
from textgym.feedback.types import Question, Record


class Panel:
    """Puts questions into a store and has simulated annotators answer them.

    It is what :class:`~textgym.feedback.annotators.people.People` is for real ones. Question ``i`` is answered by the
    people ``i``, ``i + 1``, ... (``overlap`` of them, in turn). A vote is named after its store, what its question
    says, and its annotator, so that answering once more, after an interruption, adds only what is missing, and votes of
    several stores can be put together.

    Args:
        store: The store.
        people: Annotators who answer; their names differ.
        overlap: How many of them to ask each question.
        name: Name of the panel; the records name each person.

    Raises:
        ValueError: If ``overlap`` is not between 1 and the number of people.
    """

    def __init__(
        self, store: FeedbackStore, people: Sequence[SimulatedPerson], *, overlap: int = 1, name: str = "panel"
    ) -> None:
        if not 1 <= overlap <= len(people):
            raise ValueError(
                f"expected an overlap between 1 and {len(people)}, the number of people, got {overlap}; change either"
            )
        self.name = name
        self._store = store
        self._people = people
        self._overlap = overlap

    def answer(self, questions: Sequence[Question]) -> list[tuple[Record, ...]]:
        """Return the records that were given to each question, in order; all are in the store by then."""
        items = self._store.add(questions, overlap=self._overlap)
        origin = self._store.setting("salt")
        found: list[tuple[Record, ...]] = [()] * len(questions)
        answers = [iter(person.answer(self._share(place, questions))) for place, person in enumerate(self._people)]
        for row, item in enumerate(items):
            for place in self._asked(row):
                records = next(answers[place])
                person = self._people[place].name
                self._store.vote(f"{origin}-{digest(questions[row])[:16]}-{person}", person, item, records)
                found[row] += records
        return found

    def _share(self, place: int, questions: Sequence[Question]) -> list[Question]:
        """The questions of one person."""
        return [question for row, question in enumerate(questions) if place in self._asked(row)]

    def _asked(self, row: int) -> list[int]:
        """Return who is asked a question."""
        return [(row + turn) % len(self._people) for turn in range(self._overlap)]
