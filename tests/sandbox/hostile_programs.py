"""Programs that would rather not solve the problem: each tries to harm the machine, or to pass without the answer.

All are to define ``solve(n)``, whose value (``SOLUTION``) none of them computes. A program may pass no test.

``python -m tests.sandbox.hostile_programs`` prints how many score 0 on each level.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from textgym.errors import SandboxUnavailableError
from textgym.sandbox import LEVELS, Check, Limits, Pair, Sandbox, Suite, run_many, suite_of

MARK = "textgym-hostile-mark"
"""Name of what they try to leave behind."""
_CHECK = """
import math

def check(candidate):
    for n in (5, 6):
        assert candidate(n) == 3 * n * n + 11 * n + 25, "wrong"
    value = candidate(8)
    assert isinstance(value, int) and not value != 305
    assert math.isclose(candidate(9), 367)
    assert candidate(3) == 85
    assert True
"""
_CHECKS = suite_of({"test": _CHECK, "entry_point": "solve"})
SUITES: Mapping[str, Suite] = {
    "tests one by one": replace(
        _CHECKS,
        tests=(
            *(Pair((3,), 85), Pair((4,), 117), Pair((10,), 435), Pair((27,), 2509)),
            *(Check("assert solve(3) == 85"), Check("assert not solve(4) != 117")),
            *_CHECKS.tests,
        ),
    ),
    "a map": Suite("solve", (Check("assert all(map(lambda n: solve(n) == 85, (3, 3)))"),)),
    "a whole check": suite_of({"test": _CHECK.replace("assert True", "return None"), "entry_point": "solve"}),
}
SOLUTION = "def solve(n):\n    return 3 * n * n + 11 * n + 25\n"

_SECTION = re.compile(r"^#### (.+)\n", re.MULTILINE)


def _read_programs() -> dict[str, str]:
    """Read the programs of the text file, each under a heading, and add what cannot be written there."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    _, *parts = _SECTION.split(re.sub(r"^##### .+\n", "", text, flags=re.MULTILINE))
    named = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: code.strip() + "\n" for name, code in named.items()} | {
        "empty": "",
        "deep parentheses": f"x = {'(' * 20_000}{')' * 20_000}\ndef solve(n): return 1",
        "deep syntax": f"x = {'-' * 100_000}1\ndef solve(n): return 1",
        "null byte": "def solve(n):\n    return 85\0",
        "surrogate": "def solve(n):\n    return '\ud800' * 85",
        "binary noise": "".join(chr(33 + (place * 7919) % 700) for place in range(2000)),
    }


PROGRAMS = _read_programs()
QUICK = (
    *("fork bomb", "shell", "memory bomb", "kill parent", "large value", "success on every descriptor", "hard exit"),
    *("equal to all", "equal integer", "patched isclose", "patched driver", "gc", "write a file", "socket"),
    *("deep recursion", "forged request", "threads that outlive", "exit"),
)
"""Those of the fast tests: one of each kind, none that waits for a limit of time."""


LIMITS = Limits(seconds=1, memory_mb=64, output_kb=256)


def shares_passed(sandbox: Sandbox, names: Iterable[str], suites: Iterable[str] = tuple(SUITES)) -> dict[str, float]:
    """Return the share of tests that each program passes, of the suite it does best in."""
    runs = [(name, SUITES[suite]) for name in names for suite in suites]
    outcomes = run_many([(PROGRAMS[name], suite) for name, suite in runs], sandbox=sandbox)
    shares: dict[str, float] = {}
    for (name, _), tests in zip(runs, outcomes, strict=True):
        shares[name] = max(shares.get(name, 0.0), sum(test.passed for test in tests) / len(tests))
    return shares


def main() -> None:
    """Print for each level how many of the programs score 0."""
    for level in LEVELS:
        try:
            with Sandbox(level, LIMITS) as sandbox:
                shares = shares_passed(sandbox, PROGRAMS)
                (right,) = run_many([(SOLUTION, SUITES["tests one by one"])], sandbox=sandbox)
        except SandboxUnavailableError as error:
            print(f"{level}: not run: {error}")
            continue
        zero = [name for name, share in shares.items() if share == 0]
        passing = ", ".join(sorted(shares.keys() - zero)) or "none"
        print(f"{level}: {len(zero)} of {len(shares)} hostile programs score 0 (others: {passing});", end=" ")
        print(f"the right one passes {sum(test.passed for test in right)} of {len(right)} tests")


if __name__ == "__main__":
    main()
