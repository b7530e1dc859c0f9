"""Functions that models write, tested in another process: their code never runs where training does.

:func:`run_tests` and :func:`run_many` run programs, :func:`score_replies` the code in replies to examples. Two levels:
``"monty"``, an interpreter of a subset of Python without access to the machine, and ``"bubblewrap"``, full Python in a
Linux sandbox. The page ``docs/sandbox.md`` says what each keeps out, and what not.
"""

from textgym.sandbox.extraction import extract_code
from textgym.sandbox.limits import LEVELS, Level, Limits, Outcome
from textgym.sandbox.pool import Sandbox, close_shared_sandboxes
from textgym.sandbox.running import run_many, run_tests, score_replies
from textgym.sandbox.suites import Check, Pair, Suite, Test, suite_of

__all__ = [
    "LEVELS",
    "Check",
    "Level",
    "Limits",
    "Outcome",
    "Pair",
    "Sandbox",
    "Suite",
    "Test",
    "close_shared_sandboxes",
    "extract_code",
    "run_many",
    "run_tests",
    "score_replies",
    "suite_of",
]
