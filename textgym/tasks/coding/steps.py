"""The steps that the functions of the built-in corpus are composed of: in words, in Python, and as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["numbers", "number", "text", "words"]
"""Kinds of values: a list of whole numbers, a whole number, a string, a list of strings."""
Value = Callable[[Any, int], Any]
"""Argument and number ``k`` of a step -> the value that it computes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a function, which takes ``x`` and gives the next ``x``.

    Attributes:
        says: The step in English; ``{k}`` stands for a number.
        takes, gives: Kinds of values.
        code: Python expression in ``x``; ``{k}`` stands for the number, ``{j}`` for one less.
        value: The value of that expression.
        habit: Expression that hurried writers write in its place; empty where they make no mistake.
        slip: The value of the habit.
        range: Lowest and highest ``k``; equal for steps without a number.
    """

    says: str
    takes: Kind
    gives: Kind
    code: str
    value: Value
    habit: str = ""
    slip: Value | None = None
    range: tuple[int, int] = (0, 0)


_NUMBERS: tuple[Step, ...] = (
    Step(
        *("keep the even numbers", "numbers", "numbers", "[n for n in x if n % 2 == 0]"),
        lambda x, k: [n for n in x if n % 2 == 0],
    ),
    Step(
        *("keep the odd numbers", "numbers", "numbers", "[n for n in x if n % 2 == 1]"),
        lambda x, k: [n for n in x if n % 2 == 1],
    ),
    Step(
        *("keep the numbers above {k}", "numbers", "numbers", "[n for n in x if n > {k}]"),
        lambda x, k: [n for n in x if n > k],
        "[n for n in x if n >= {k}]",
        lambda x, k: [n for n in x if n >= k],
        (2, 6),
    ),
    Step(
        *("keep the numbers of at least {k}", "numbers", "numbers", "[n for n in x if n >= {k}]"),
        lambda x, k: [n for n in x if n >= k],
        "[n for n in x if n > {k}]",
        lambda x, k: [n for n in x if n > k],
        (2, 6),
    ),
    Step(
        *("keep the numbers below {k}", "numbers", "numbers", "[n for n in x if n < {k}]"),
        lambda x, k: [n for n in x if n < k],
        "[n for n in x if n <= {k}]",
        lambda x, k: [n for n in x if n <= k],
        (3, 7),
    ),
    Step(
        *("keep the numbers of at most {k}", "numbers", "numbers", "[n for n in x if n <= {k}]"),
        lambda x, k: [n for n in x if n <= k],
        "[n for n in x if n < {k}]",
        lambda x, k: [n for n in x if n < k],
        (3, 7),
    ),
    Step(
        *("add {k} to each number", "numbers", "numbers", "[n + {k} for n in x]"),
        lambda x, k: [n + k for n in x],
        range=(1, 5),
    ),
    Step(
        *("multiply each number by {k}", "numbers", "numbers", "[n * {k} for n in x]"),
        lambda x, k: [n * k for n in x],
        range=(2, 5),
    ),
    Step(
        *("square each number", "numbers", "numbers", "[n * n for n in x]"),
        lambda x, k: [n * n for n in x],
        "[n * 2 for n in x]",
        lambda x, k: [n * 2 for n in x],
    ),
    Step(
        *("take the first {k} numbers", "numbers", "numbers", "x[:{k}]"),
        lambda x, k: x[:k],
        "x[:{j}]",
        lambda x, k: x[: k - 1],
        (2, 4),
    ),
    Step(
        *("take the last {k} numbers", "numbers", "numbers", "x[-{k}:]"),
        lambda x, k: x[-k:],
        "x[-{j}:]",
        lambda x, k: x[1 - k :],
        (2, 4),
    ),
    Step(
        *("drop the first {k} numbers", "numbers", "numbers", "x[{k}:]"),
        lambda x, k: x[k:],
        "x[{j}:]",
        lambda x, k: x[k - 1 :],
        (2, 3),
    ),
    Step(
        *("drop the last {k} numbers", "numbers", "numbers", "x[:-{k}]"),
        lambda x, k: x[:-k],
        "x[:-{j}]",
        lambda x, k: x[: 1 - k],
        (2, 3),
    ),
    Step("sort the numbers", "numbers", "numbers", "sorted(x)", lambda x, k: sorted(x)),
    Step(
        *("sort the numbers in descending order", "numbers", "numbers", "sorted(x, reverse=True)"),
        lambda x, k: sorted(x, reverse=True),
        "sorted(x)",
        lambda x, k: sorted(x),
    ),
    Step("reverse the list", "numbers", "numbers", "x[::-1]", lambda x, k: x[::-1]),
    Step(
        *("take every second number starting with the first", "numbers", "numbers", "x[::2]"),
        lambda x, k: x[::2],
        "x[1::2]",
        lambda x, k: x[1::2],
    ),
    Step(
        *("sort the different numbers", "numbers", "numbers", "sorted(set(x))"),
        lambda x, k: sorted(set(x)),
        "sorted(x)",
        lambda x, k: sorted(x),
    ),
    Step("add them up", "numbers", "number", "sum(x)", lambda x, k: sum(x)),
    Step("count them", "numbers", "number", "len(x)", lambda x, k: len(x)),
    Step(
        *("take the largest, or 0 if there is none", "numbers", "number", "max(x) if x else 0"),
        lambda x, k: max(x) if x else 0,
        "max(x)",
        lambda x, k: max(x),
    ),
    Step(
        *("take the smallest, or 0 if there is none", "numbers", "number", "min(x) if x else 0"),
        lambda x, k: min(x) if x else 0,
        "min(x)",
        lambda x, k: min(x),
    ),
    Step(
        *("take the last, or 0 if there is none", "numbers", "number", "x[-1] if x else 0"),
        lambda x, k: x[-1] if x else 0,
        "x[-1]",
        lambda x, k: x[-1],
    ),
    Step("add {k}", "number", "number", "x + {k}", lambda x, k: x + k, range=(1, 9)),
    Step("multiply it by {k}", "number", "number", "x * {k}", lambda x, k: x * k, range=(2, 9)),
    Step("subtract {k}", "number", "number", "x - {k}", lambda x, k: x - k, range=(1, 9)),
)
_TEXTS: tuple[Step, ...] = (
    Step("put it in capitals", "text", "text", "x.upper()", lambda x, k: x.upper()),
    Step("reverse it", "text", "text", "x[::-1]", lambda x, k: x[::-1]),
    Step(
        *("take the first {k} characters", "text", "text", "x[:{k}]"),
        lambda x, k: x[:k],
        "x[:{j}]",
        lambda x, k: x[: k - 1],
        (3, 8),
    ),
    Step(
        *("take the last {k} characters", "text", "text", "x[-{k}:]"),
        lambda x, k: x[-k:],
        "x[-{j}:]",
        lambda x, k: x[1 - k :],
        (3, 8),
    ),
    Step(
        *("drop the first {k} characters", "text", "text", "x[{k}:]"),
        lambda x, k: x[k:],
        "x[{j}:]",
        lambda x, k: x[k - 1 :],
        (2, 5),
    ),
    Step(
        *("replace each space by a dash", "text", "text", 'x.replace(" ", "-")'),
        lambda x, k: x.replace(" ", "-"),
    ),
    Step('remove each "a"', "text", "text", 'x.replace("a", "")', lambda x, k: x.replace("a", "")),
    Step(
        *("repeat it {k} times", "text", "text", "x * {k}"),
        lambda x, k: x * k,
        "x * {j}",
        lambda x, k: x * (k - 1),
        (2, 4),
    ),
    Step("add an exclamation mark", "text", "text", 'x + "!"', lambda x, k: x + "!"),
    Step("count the characters", "text", "number", "len(x)", lambda x, k: len(x)),
    Step('count each "a"', "text", "number", 'x.count("a")', lambda x, k: x.count("a")),
    Step("split it into words", "text", "words", "x.split()", lambda x, k: x.split()),
    Step(
        *("keep the words of at least {k} letters", "words", "words", "[w for w in x if len(w) >= {k}]"),
        lambda x, k: [w for w in x if len(w) >= k],
        "[w for w in x if len(w) > {k}]",
        lambda x, k: [w for w in x if len(w) > k],
        (3, 5),
    ),
    Step(
        *("keep the words of more than {k} letters", "words", "words", "[w for w in x if len(w) > {k}]"),
        lambda x, k: [w for w in x if len(w) > k],
        "[w for w in x if len(w) >= {k}]",
        lambda x, k: [w for w in x if len(w) >= k],
        (2, 4),
    ),
    Step(
        *("take the first {k} words", "words", "words", "x[:{k}]"),
        lambda x, k: x[:k],
        "x[:{j}]",
        lambda x, k: x[: k - 1],
        (2, 3),
    ),
    Step("sort the words", "words", "words", "sorted(x)", lambda x, k: sorted(x)),
    Step("reverse the order of the words", "words", "words", "x[::-1]", lambda x, k: x[::-1]),
    Step(
        *("take the first {k} letters of each word", "words", "words", "[w[:{k}] for w in x]"),
        lambda x, k: [w[:k] for w in x],
        "[w[:{j}] for w in x]",
        lambda x, k: [w[: k - 1] for w in x],
        (2, 4),
    ),
    Step(
        *("join them with dashes", "words", "text", '"-".join(x)'),
        lambda x, k: "-".join(x),
        '" ".join(x)',
        lambda x, k: " ".join(x),
    ),
    Step("count them", "words", "number", "len(x)", lambda x, k: len(x)),
    Step(
        *("take the last, or a dash if there is none", "words", "text", 'x[-1] if x else "-"'),
        lambda x, k: x[-1] if x else "-",
        "x[-1]",
        lambda x, k: x[-1],
    ),
)
STEPS: Sequence[Step] = (*_NUMBERS, *_TEXTS)
