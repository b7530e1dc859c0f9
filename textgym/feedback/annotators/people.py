"""People behind a page, asked like any other annotator."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Question, Record


class People:
    """Puts questions into a store, and waits until people have answered them on its page.

    Args:
        store: The store; the page may be served by another process.
        overlap: How many people to ask each question.
        poll_seconds: Seconds between two queries of the store.
        timeout: Seconds to wait at most; ``None`` waits as long as it takes.
        name: Name of the group; the records name each person.
    """

    def __init__(
        self,
        store: FeedbackStore,
        *,
        overlap: int = 1,
        poll_seconds: float = 1.0,
        timeout: float | None = None,
        name: str = "people",
    ) -> None:
        self.name = name
        self._store = store
        self._overlap = overlap
        self._poll_seconds = poll_seconds
        self._timeout = timeout

    def answer(self, questions: Sequence[Question]) -> list[tuple[Record, ...]]:
        """Return the records that all people gave to each question, in order.

        Questions that were answered before, for instance in a run that was interrupted, are not asked again. One that
        everybody skipped has no record.

        Raises:
            TimeoutError: Not all were answered in time; the answers so far are in the store.
        """
        items = self._store.add(questions, overlap=self._overlap)
        start = time.monotonic()
        while missing := self._store.missing(items):
            if self._timeout is not None and time.monotonic() - start > self._timeout:
                raise TimeoutError(
                    f"expected answers within {self._timeout:g} s, got none yet to {missing} of {len(items)} questions"
                    "; ask more people, or wait longer"
                )
            time.sleep(self._poll_seconds)
        found: dict[int | None, list[Record]] = {item: [] for item in items}
        for vote in self._store.votes():
            if vote.item in found:
                found[vote.item].extend(vote.records)
        return [tuple(found[item]) for item in items]
