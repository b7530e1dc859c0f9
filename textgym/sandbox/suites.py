"""Hidden tests of a function: pairs of arguments and value, and statements that assert."""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textgym.errors import DataError
from textgym.sandbox.plain import NotPlainError, encode

_DEFINITION = re.compile(r"^(?:async )?def +(\w+)", re.MULTILINE)
_STAND_IN = "candidate"
_HOW = (
    "give a column 'tests' with a list of [arguments, value] pairs, or of assert statements, and a column "
    "'entry_point' with the name of the function; or the columns 'test' and 'entry_point' of HumanEval"
)


@dataclass(frozen=True)
class Pair:
    """A call and the value that it should return; they are compared outside every sandbox.

    Attributes:
        args: Arguments, plain values.
        expected: The value.
        exact: Compare as Python does; otherwise as values of JSON (:func:`textgym.sandbox.plain.equal`).
    """

    args: tuple[object, ...]
    expected: object
    exact: bool = False


@dataclass(frozen=True)
class Check:
    """Statements that assert something about a function; they run in another sandbox than the function.

    Attributes:
        source: Code, in which the function is called by its own name or as ``candidate``.
    """

    source: str


Test = Pair | Check


@dataclass(frozen=True)
class Suite:
    """The tests of one function.

    Attributes:
        entry_point: Name of the function.
        tests: Its tests.
        setup: Code that the checks may use.
        alias: Further name of the function in checks.
    """

    entry_point: str
    tests: tuple[Test, ...]
    setup: str = ""
    alias: str = _STAND_IN

    def __post_init__(self) -> None:
        """Check that there is something to test.

        Raises:
            DataError: There are no tests, or the function has no name.
        """
        if not self.entry_point.isidentifier() or keyword.iskeyword(self.entry_point):
            raise DataError(f"expected the name of a function as 'entry_point', got {self.entry_point!r}; {_HOW}")
        if not self.tests:
            raise DataError(f"expected tests for {self.entry_point!r}, got none; {_HOW}")

    def job(self, code: str) -> dict[str, Any]:
        """Return what a worker is told: arguments and statements, no expected value."""
        return {
            "code": code,
            "entry_point": self.entry_point,
            "calls": [_encoded(list(test.args)) for test in self.tests if isinstance(test, Pair)],
            "setup": self.setup,
            "checks": [test.source for test in self.tests if isinstance(test, Check)],
            "names": sorted({self.entry_point, _STAND_IN, self.alias}),
        }


def suite_of(extra: Mapping[str, Any], prompt: str = "") -> Suite:
    """Return the tests that come with an item of a data set.

    Args:
        extra: Columns. ``tests``: a list of ``[arguments, value]`` pairs or of assert statements, or such a list as
            JSON; or ``test``: the source of a function ``check(candidate)``. ``entry_point``: name of the function, by
            default the last one that the prompt defines.
        prompt: Prompt of the item. If it is code, what it defines before the function is there for assertions.

    Raises:
        DataError: There are no tests, or they have another form.
    """
    names = _DEFINITION.findall(prompt)
    entry_point = str(extra.get("entry_point") or (names[-1] if names else ""))
    setup = preamble_of(prompt, entry_point)
    tests = extra.get("tests")
    if tests is None and isinstance(extra.get("test"), str):
        return _suite_of_check(extra["test"], entry_point, setup)
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except ValueError as error:
            raise DataError(
                f"expected a JSON list in the column 'tests', got {tests[:80]!r} ({error}); {_HOW}"
            ) from error
    if not isinstance(tests, list | tuple):
        raise DataError(f"expected tests for {entry_point or 'a function'!r}, got {tests!r}; {_HOW}")
    return Suite(entry_point, tuple(_test_of(test) for test in tests), setup)


def preamble_of(prompt: str, entry_point: str) -> str:
    r"""Return the code of a prompt before the function to write; nothing if the prompt does not begin to define it.

    >>> preamble_of("import math\n\ndef area(r):\n", "area"), preamble_of("Write a function area(r).", "area")
    ('import math\n\n', '')
    """
    begins = [match for match in _DEFINITION.finditer(prompt) if match.group(1) == entry_point]
    return prompt[: begins[-1].start()] if begins else ""


def _test_of(test: object) -> Test:
    match test:
        case str():
            return Check(test)
        case [[*args], expected]:
            _encoded([args, expected])
            return Pair(tuple(args), expected)
    raise DataError(f"expected [list of arguments, value] or an assert statement as a test, got {test!r}; {_HOW}")


def _encoded(value: object) -> Any:
    try:
        return encode(value)
    except NotPlainError as error:
        raise DataError(f"expected plain values in tests, got {error}; {_HOW}") from error


def _suite_of_check(source: str, entry_point: str, setup: str) -> Suite:
    """Return the tests within the source of ``check(candidate)``: each of its assertions is one.

    An assertion that compares a call with constants becomes a pair. Others stay statements; loops and the like count as
    one test with all they assert. What asserts nothing is run before the next one that does.
    """
    try:
        return _suite_of_tree(ast.parse(source), source, entry_point, setup)
    except DataError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"expected Python code in the column 'test', got {source[:80]!r} ({error}); {_HOW}") from error


def _suite_of_tree(tree: ast.Module, source: str, entry_point: str, setup: str) -> Suite:
    checks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise DataError(f"expected a function check(candidate) in the column 'test', got {source[:80]!r}; {_HOW}")
    (check,) = checks
    alias = check.args.args[0].arg
    if _must_stay_whole(check):
        tests: Iterable[Test] = [Check(f"check({alias})")] if _asserts(check) else []
        return Suite(entry_point, tuple(tests), f"{setup}\n{source}", alias)
    others = ast.unparse(ast.Module([node for node in tree.body if node is not check], []))
    return Suite(entry_point, tuple(_tests_within(check.body, alias)), f"{setup}\n{others}", alias)


def _must_stay_whole(check: ast.FunctionDef) -> bool:
    """Say whether its statements make sense in the function alone."""
    kinds = (ast.Return, ast.Yield, ast.YieldFrom, ast.Nonlocal, ast.Global)
    return any(isinstance(node, kinds) for statement in check.body for node in _nodes_outside_functions(statement))


def _nodes_outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _nodes_outside_functions(child)


def _asserts(statement: ast.AST) -> bool:
    """Say whether a statement asserts anything that is not constant."""
    return any(isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant) for node in ast.walk(statement))


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _tests_within(body: Sequence[ast.stmt], alias: str) -> Iterator[Test]:
    before: list[str] = []
    for statement in body:
        pair = _pair_of(statement, alias)
        if pair is not None:
            yield pair
        elif _asserts(statement):
            yield Check("\n".join((*before, ast.unparse(statement))))
            before = []
        elif not isinstance(statement, ast.Assert) and not _is_constant(statement):
            before.append(ast.unparse(statement))


def _pair_of(statement: ast.stmt, alias: str) -> Pair | None:
    """Return the pair that ``assert candidate(constants) == constant`` stands for; ``None`` if it is no such thing."""
    match statement:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            pass
        case _:
            return None
    if not isinstance(left, ast.Call):
        left, right = right, left
    match left:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name == alias:
            try:
                pair = Pair(tuple(map(ast.literal_eval, args)), ast.literal_eval(right), exact=True)
                encode([*pair.args, pair.expected])
            except (ValueError, TypeError, MemoryError, RecursionError):
                return None
            return pair
    return None
