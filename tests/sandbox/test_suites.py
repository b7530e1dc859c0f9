"""Hidden tests from the columns of data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from textgym.errors import DataError
from textgym.sandbox import Check, Pair, Sandbox, Suite, run_many, suite_of

CHECK = """
import math
METADATA = {}

def helper(x):
    return x + 1

def check(candidate):
    "Of the function."
    assert True, "prints"
    assert candidate([1], -2) == (3, {4}), "message"
    assert {"a": None} == candidate("b")
    numbers = [helper(n) for n in range(3)]
    assert candidate(numbers) == 6
    for n in range(3):
        value = candidate(n)
        assert value == n
    assert math.isclose(candidate(2.0), 2)
    print("done")
"""


def test_assertions_of_humaneval_are_single_tests() -> None:
    suite = suite_of({"test": CHECK, "entry_point": "total"})
    assert suite.tests[:2] == (
        Pair(([1], -2), (3, {4}), exact=True),
        Pair(("b",), {"a": None}, exact=True),
    )
    assert suite.tests[2:] == (
        Check("numbers = [helper(n) for n in range(3)]\nassert candidate(numbers) == 6"),
        Check("for n in range(3):\n    value = candidate(n)\n    assert value == n"),
        Check("assert math.isclose(candidate(2.0), 2)"),
    )
    assert "def helper(x)" in suite.setup
    assert "def check" not in suite.setup


def test_a_check_that_returns_stays_whole(sandbox: Sandbox) -> None:
    source = "def check(f):\n    if f(1) != 2:\n        raise AssertionError\n    assert f(2) == 3\n    return\n"
    suite = suite_of({"test": source, "entry_point": "f"})
    assert suite.tests == (Check("check(f)"),)
    programs = ["def f(n): return n + 1", "def f(n): return n"]
    outcomes = run_many([(code, suite) for code in programs], sandbox=sandbox)
    assert [tests[0].passed for tests in outcomes] == [True, False]


def test_checks_run_in_order_with_what_comes_before_them(sandbox: Sandbox) -> None:
    suite = suite_of({"test": CHECK, "entry_point": "total"})
    code = "def total(x, *rest):\n    return sum(x) if isinstance(x, list) else x"
    (outcomes,) = run_many([(code, suite)], sandbox=sandbox)
    assert [outcome.passed for outcome in outcomes] == [False, False, True, True, True]


def test_what_a_prompt_defines_is_there_for_checks(sandbox: Sandbox) -> None:
    prompt = "def encode(text):\n    return text[::-1]\n\ndef decode(text):\n    "
    source = "def check(candidate):\n    for word in ('ab', 'c'):\n        assert candidate(encode(word)) == word"
    suite = suite_of({"test": source, "entry_point": "decode"}, prompt)
    (outcomes,) = run_many([(prompt + "return text[::-1]", suite)], sandbox=sandbox)
    assert [outcome.passed for outcome in outcomes] == [True]


def test_pairs_and_assertions_from_json(sandbox: Sandbox) -> None:
    tests = [[[1, [2]], [1, 2]], [[0, []], [0]], "assert join(3, []) == [3]", "assert candidate(1, [1]) == [1, 1]"]
    for column in (tests, json.dumps(tests)):
        suite = suite_of({"tests": column, "entry_point": "join"})
        assert suite.tests[0] == Pair((1, [2]), [1, 2])
        (outcomes,) = run_many([("def join(n, rest): return (n, *rest)", suite)], sandbox=sandbox)
        assert [outcome.passed for outcome in outcomes] == [True, True, False, False]  # Python's tuples are no lists


def test_the_name_may_be_that_of_the_prompt() -> None:
    assert suite_of({"tests": [[[1], 1]]}, "def helper(): pass\n\ndef last(n):\n").entry_point == "last"


def test_assertions_that_never_ask_the_function_prove_nothing(sandbox: Sandbox) -> None:
    suite = Suite("f", (Check("assert 1 + 1 == 2"), Check("assert f(1) == 1"), Check("assert 1 + 1 == 2")))
    (outcomes,) = run_many([("def f(n):\n    raise ValueError(n)", suite)], sandbox=sandbox)
    assert [outcome.passed for outcome in outcomes] == [False, False, False]


def test_errors_of_the_function_reach_a_check(sandbox: Sandbox) -> None:
    check = "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no error')"
    suite = Suite("f", (Pair((1,), 1), Check(check)))
    programs = ["def f(n):\n    if n < 0:\n        raise ValueError(str(n))\n    return n", "def f(n): return n"]
    outcomes = run_many([(code, suite) for code in programs], sandbox=sandbox)
    assert [[test.passed for test in tests] for tests in outcomes] == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"entry_point": "f"}, "expected tests for 'f', got None"),
        ({"entry_point": "f", "tests": []}, "expected tests for 'f', got none"),
        ({"entry_point": "f", "tests": "[1"}, "expected a JSON list"),
        ({"entry_point": "f", "tests": [[1, 2]]}, "expected .list of arguments, value. or an assert statement"),
        ({"entry_point": "f", "tests": [[[object()], 2]]}, "expected plain values"),
        ({"entry_point": "f", "tests": [[[1], object()]]}, "expected plain values"),
        ({"entry_point": "f(); g", "tests": [[[1], 2]]}, "expected the name of a function"),
        ({"entry_point": "while", "tests": [[[1], 2]]}, "expected the name of a function"),
        ({"tests": [[[1], 2]]}, "expected the name of a function"),
        ({"entry_point": "f", "test": "def check(candidate"}, "expected Python code"),
        ({"entry_point": "f", "test": f"def check(f):\n    assert f(1) == {'-' * 5000}1"}, "expected Python code"),
        ({"entry_point": "f", "test": "assert f(1) == 2"}, r"expected a function check\(candidate\)"),
        ({"entry_point": "f", "test": "def check(candidate):\n    assert True"}, "expected tests"),
        ({"entry_point": "f", "test": "def check(candidate):\n    return"}, "expected tests"),
    ],
)
def test_tests_that_are_none_are_refused(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        suite_of(extra)
