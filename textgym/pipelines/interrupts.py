"""Ctrl-C in two steps: the first asks to stop at the next good moment, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from textgym import console


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped by its user, after its work so far was saved.

    Attributes:
        advice: How to go on, as a sentence.
    """

    def __init__(self, advice: str) -> None:
        super().__init__(advice)
        self.advice = advice


class StopRequest:
    """Whether the user wants to stop.

    Attributes:
        wanted: True after the first Ctrl-C.
    """

    def __init__(self, meanwhile: str) -> None:
        """``meanwhile`` says what is finished first."""
        self.wanted = False
        self._meanwhile = meanwhile

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Answer a SIGINT."""
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        console.warn(f"stopping: {self._meanwhile}; Ctrl-C again stops at once")


@contextmanager
def stop_on_request(meanwhile: str) -> Iterator[StopRequest]:
    """Turn the first SIGINT inside the block into a request; SIGINT works as before afterwards.

    Outside the main thread signals cannot be caught, and nothing changes.
    """
    request = StopRequest(meanwhile)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = signal.signal(signal.SIGINT, request.handle)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, previous)
