"""Tests of programs: one program, or the replies of a model by the hundred."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from textgym.errors import SandboxUnavailableError
from textgym.sandbox.extraction import extract_code
from textgym.sandbox.limits import LEVELS, Choice, Limits, Outcome
from textgym.sandbox.plain import encode, equal
from textgym.sandbox.pool import Sandbox, shared_sandbox
from textgym.sandbox.suites import Pair, Suite, suite_of
from textgym.security.escaping import printable
from textgym.types import Example

_MOST_REMEMBERED = 4096


def run_tests(
    code: str, suite: Suite, *, limits: Limits | None = None, level: Choice = "auto", sandbox: Sandbox | None = None
) -> list[Outcome]:
    """Run a function that a model wrote against hidden tests, in another process.

    Example:
        >>> from textgym.sandbox import Check
        >>> suite = Suite("double", (Pair((2,), 4), Pair(("ab",), "abab"), Check("assert double(0) == 1")))
        >>> [outcome.passed for outcome in run_tests("def double(n): return n + n", suite)]
        [True, True, False]

    Args:
        code: Program that defines the function.
        suite: Its tests.
        limits: Limits of the program, all tests together.
        level: Sandbox to run it in: ``"monty"``, ``"bubblewrap"``, or the first of them that there is (``"auto"``).
        sandbox: Sandbox instead, which has its own level and limits; by default one that the process shares.

    Returns:
        An outcome for every test, in order.

    Raises:
        SandboxUnavailableError: There is no such sandbox here; the message says how to get one.
    """
    return run_many([(code, suite)], limits=limits, level=level, sandbox=sandbox)[0]


def run_many(
    programs: Sequence[tuple[str, Suite]],
    *,
    limits: Limits | None = None,
    level: Choice = "auto",
    sandbox: Sandbox | None = None,
) -> list[list[Outcome]]:
    """Do for many programs, several at a time, what :func:`run_tests` does for one."""
    if not programs:
        return []
    sandbox = sandbox or _sandbox(level, limits or Limits())
    replies = sandbox.run([suite.job(code) for code, suite in programs])
    return [_outcomes(suite, each) for (_, suite), each in zip(programs, replies, strict=True)]


def score_replies(
    replies: Sequence[str], examples: Sequence[Example], *, limits: Limits | None = None, level: Choice = "auto"
) -> list[list[Outcome]]:
    """Run the tests of the code in ``n`` replies of a model; the same code for the same tests is run once.

    Args:
        replies: ``n`` texts, of which :func:`~textgym.sandbox.extraction.extract_code` takes the code.
        examples: The ``n`` items they answer, with tests in ``extra`` (:func:`~textgym.sandbox.suites.suite_of`).
        limits: Limits of each program.
        level: Sandbox to run them in.

    Returns:
        The outcomes of each reply's tests.

    Raises:
        DataError: An example has no tests.
        SandboxUnavailableError: There is no sandbox of that level here; the message says how to get one.
    """
    distinct = {id(example): example for example in examples}  # replies of a group share theirs
    suites = {key: suite_of(example.extra, example.text) for key, example in distinct.items()}
    programs = [
        (extract_code(reply, example.text, suites[id(example)].entry_point), suites[id(example)])
        for reply, example in zip(replies, examples, strict=True)
    ]
    keys = [_key(code, suite, level, limits or Limits()) for code, suite in programs]
    new = {key: program for key, program in zip(keys, programs, strict=True) if key not in _REMEMBERED}
    found = dict(zip(new, run_many(list(new.values()), limits=limits, level=level), strict=True))
    results = [found[key] if key in found else _REMEMBERED[key] for key in keys]
    _REMEMBERED.update(found)
    while len(_REMEMBERED) > _MOST_REMEMBERED:
        _REMEMBERED.popitem(last=False)
    return results


_REMEMBERED: OrderedDict[str, list[Outcome]] = OrderedDict()


def _sandbox(level: Choice, limits: Limits) -> Sandbox:
    """Return the shared sandbox of a level, or of the first level that there is.

    Raises:
        SandboxUnavailableError: There is none.
    """
    if level != "auto":
        return shared_sandbox(level, limits)
    reasons = []
    for each in LEVELS:
        sandbox = shared_sandbox(each, limits)
        try:
            sandbox.start()
        except SandboxUnavailableError as error:
            reasons.append(str(error))
            continue
        if reasons and each not in _FALLEN_BACK:
            _FALLEN_BACK.add(each)
            warnings.warn(
                f"{'; '.join(reasons)}; {each!r} is used instead, where some programs fare otherwise", stacklevel=4
            )
        return sandbox
    raise SandboxUnavailableError("; or ".join(reasons))


_FALLEN_BACK: set[str] = set()


def _key(code: str, suite: Suite, level: str, limits: Limits) -> str:
    return hashlib.sha256(repr((level, limits, suite, code)).encode()).hexdigest()


def _outcomes(suite: Suite, replies: Sequence[dict[str, Any]]) -> list[Outcome]:
    """Compare what a program returned with what was expected; here, where no program runs."""
    pairs = iter(replies[: sum(isinstance(test, Pair) for test in suite.tests)])
    checks = iter(replies[sum(isinstance(test, Pair) for test in suite.tests) :])
    return [
        _outcome_of_pair(next(pairs), test) if isinstance(test, Pair) else _outcome_of(next(checks))
        for test in suite.tests
    ]


def _outcome_of_pair(reply: dict[str, Any], pair: Pair) -> Outcome:
    if "error" in reply:
        return _outcome_of(reply)
    if equal(reply["value"], encode(pair.expected), exact=pair.exact):
        return Outcome(True)
    return Outcome(False, "wrong", printable(f"returned {json.dumps(reply['value'])[:200]}"))


def _outcome_of(reply: dict[str, Any]) -> Outcome:
    if "error" in reply:
        return Outcome(False, reply["error"], printable(reply["detail"]))
    return Outcome(True)
