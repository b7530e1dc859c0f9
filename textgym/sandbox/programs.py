"""One program and its tests: who calls whom, on any level.

The program lives in a guest of its own. Tests that are statements run in another guest, where the function under test
is a stand-in that asks the first guest; only plain values pass. So no assertion ever touches an object of the
program, and the program can neither see nor patch the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from textgym.sandbox.plain import Encoded

Reply = dict[str, Any]
"""``{"value": encoded}``, or ``{"error": reason, "detail": text, "class": name}`` as :func:`failure` makes it."""
_FATAL = ("timeout", "memory", "crashed")  # after these a guest is asked nothing more
_MOST_DETAIL = 300


class Guest(Protocol):
    """A place where code runs."""

    def load(self, code: str) -> Reply:
        """Run the top level of a program."""
        ...

    def call(self, name: str, args: Encoded, options: Encoded) -> Reply:
        """Call one of its functions."""
        ...

    def run(self, code: str, names: Sequence[str], answer: Callable[[Encoded, Encoded], Reply]) -> Reply:
        """Run a statement of tests, in which ``names`` stand for a function that ``answer`` calls elsewhere."""
        ...


OpenGuest = Callable[[], AbstractContextManager[Guest]]


def failure(reason: str, detail: str, kind: str = "RuntimeError") -> Reply:
    """Return the reply of something that did not work."""
    return {"error": reason, "detail": detail[:_MOST_DETAIL], "class": kind}


def run_program(job: Mapping[str, Any], open_guest: OpenGuest) -> list[Reply]:
    """Run one program against its tests.

    Args:
        job: ``code``, ``entry_point``, ``calls`` (argument lists), ``checks`` (statements), ``setup`` (code before
            them) and ``names`` (by which they call the function).
        open_guest: Maker of guests.

    Returns:
        A reply for every call, then one for every check.
    """
    with open_guest() as guest:
        candidate = _Candidate(guest, job["entry_point"])
        loaded = candidate.load(job["code"])
        if "error" in loaded:
            return [loaded] * (len(job["calls"]) + len(job["checks"]))
        called = [candidate.call(args, {"dict": []}) for args in job["calls"]]
        if not job["checks"]:
            return called
        with open_guest() as checker:
            return called + _run_checks(job, checker, candidate)


def _run_checks(job: Mapping[str, Any], checker: Guest, candidate: _Candidate) -> list[Reply]:
    """Return a reply for every check."""
    stopped = _stopping(checker.load(job["setup"]), always=True)
    replies: list[Reply] = []
    for check in job["checks"]:
        reply = stopped or candidate.lost or checker.run(check, job["names"], candidate.call)
        stopped = stopped or _stopping(reply)
        if candidate.lost is not None:  # whatever the check made of it
            reply = candidate.lost
        elif "value" in reply and not candidate.answers:
            reply = failure("wrong", "the function has not returned anything")
        replies.append(reply)
    return replies


def _stopping(reply: Reply, *, always: bool = False) -> Reply | None:
    """Return a reply after which its guest is asked nothing more."""
    return reply if reply.get("error") in _FATAL or (always and "error" in reply) else None


class _Candidate:
    """The function under test, and what is known of it.

    Attributes:
        lost: Why it can be asked nothing more, if so.
        answers: How often it has returned a value.
    """

    def __init__(self, guest: Guest, entry_point: str) -> None:
        self._guest, self._entry_point = guest, entry_point
        self.lost: Reply | None = None
        self.answers = 0

    def load(self, code: str) -> Reply:
        """Run the top level of the program."""
        return self._noted(self._guest.load(code))

    def call(self, args: Encoded, options: Encoded) -> Reply:
        """Call the function."""
        if self.lost is not None:
            return self.lost
        reply = self._noted(self._guest.call(self._entry_point, args, options))
        self.answers += "value" in reply
        return reply

    def _noted(self, reply: Reply) -> Reply:
        self.lost = _stopping(reply)
        if "ask" in reply:  # forged: a program has nobody to ask
            self.lost = failure("crashed", "an answer that is none")
        return self.lost or reply
