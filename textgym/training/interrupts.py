"""Ctrl-C, SIGTERM and SIGHUP in two steps: the first asks to stop at the next good moment, the second stops at once."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from textgym import console

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is sent when a terminal closes; Windows has none


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped by its user, after its work so far was saved.

    Attributes:
        advice: A sentence on how to resume the run.
        signal: Number of the signal that stopped it.
    """

    def __init__(self, advice: str, number: int = signal.SIGINT) -> None:
        super().__init__(advice)
        self.advice = advice
        self.signal = int(number)


class Terminated(KeyboardInterrupt):
    """A signal came, SIGTERM or SIGHUP or one whose request was granted, which stops a command as Ctrl-C does.

    Attributes:
        signal: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = int(number)


def signal_of(stop: object) -> int:
    """Return the signal behind an interrupt or a request to stop; SIGINT where it does not say."""
    match stop:
        case RunInterrupted() | Terminated() | StopRequest():
            return stop.signal
    return int(signal.SIGINT)


class StopRequest:
    """A request of the user to stop, made by a signal.

    Attributes:
        wanted: True after the first signal.
        signal: Number of that signal; SIGINT before.
    """

    def __init__(self, meanwhile: str, echo: float = 0.0) -> None:
        """``meanwhile`` says what is finished first; within ``echo`` seconds, a second signal is the first again."""
        self.wanted = False
        self.signal = int(signal.SIGINT)
        self._meanwhile, self._echo, self._since = meanwhile, echo, -math.inf

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal.

        A closing terminal may send SIGHUP several times, and a system that shuts down SIGHUP after SIGTERM: only a
        second Ctrl-C or SIGTERM stops at once. Under torchrun Ctrl-C comes twice: from the terminal, which sends it to
        all processes, and from torchrun, which passes it on.
        """
        if not self.wanted:
            self.wanted, self.signal, self._since = True, number, time.monotonic()
            console.warn(f"stopping: {self._meanwhile}; Ctrl-C again stops at once")
        elif time.monotonic() - self._since < self._echo:
            return
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif number == signal.SIGTERM and self.signal == number:
            raise Terminated(number)


@contextmanager
def stop_on_request(meanwhile: str, *, echo: float = 0.0) -> Iterator[StopRequest]:
    """Turn the first signal inside the block into a request; signals work as before afterwards.

    Outside the main thread signals cannot be caught, and nothing changes.
    """
    request = StopRequest(meanwhile, echo)
    with _handling(request.handle, _NAMES):
        yield request


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP inside the block raise :class:`Terminated`, as Ctrl-C raises ``KeyboardInterrupt``."""
    with _handling(_terminate, _NAMES[1:]):
        yield


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], names: tuple[str, ...]) -> Iterator[None]:
    """Handle signals inside the block; those that somebody ignores on purpose (``nohup``) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for name, number in signal.Signals.__members__.items() if name in names]
    known = {number: signal.getsignal(number) for number in numbers}
    handled = [number for number in numbers if known[number] not in (signal.SIG_IGN, None)]
    try:
        for number in handled:
            signal.signal(number, handler)
        yield
    finally:
        for number in handled:
            signal.signal(number, known[number])
