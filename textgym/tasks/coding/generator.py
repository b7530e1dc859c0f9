"""The built-in corpus: small functions of a few steps, with hidden tests and drafts of hurried writers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, draws_of, joined, name_of_level, owns
from textgym.tasks.coding.steps import STEPS, Kind, Step
from textgym.types import Split

NAME = "functions"
ENTRY_POINT = "f"
TESTS = 6
"""Hidden tests of a function."""
SLIPS = 0.7
"""Share of the steps with a habit that a draft gets wrong."""
SWAPS = 0.65
"""Share of the drafts with the order of two steps exchanged, where both orders are possible."""
COUNTS: Mapping[str, tuple[int, int]] = {"medium": (2, 2), "easy": (1, 1), "hard": (3, 3), "mixed": (1, 3)}
"""Difficulty -> lowest and highest number of steps; the default first."""
_STARTS: tuple[Kind, ...] = ("numbers", "numbers", "text")  # two functions in three take numbers
_WORDS: tuple[str, ...] = (
    *("a", "an", "at", "cat", "map", "sea", "tea", "ran", "red", "banana", "bread", "table", "stone", "blue"),
    *("salad", "garden", "night", "lake", "road", "drama", "to", "up", "we", "panda", "moon", "rain", "ask", "far"),
)
_STARTING: Mapping[Kind, tuple[Step, ...]] = {
    kind: tuple(step for step in STEPS if step.takes == kind) for kind in ("numbers", "number", "text", "words")
}
_GOING_ON: Mapping[Kind, tuple[Step, ...]] = {  # values of these steps may be taken by another one
    kind: tuple(step for step in steps if _STARTING[step.gives]) for kind, steps in _STARTING.items()
}
_MOST_TRIES = 40
_FAILED = object()


class Part(NamedTuple):
    """A step of a function, its number, and whether it is written by habit."""

    step: Step
    k: int
    slips: bool = False

    @property
    def code(self) -> str:
        """The expression in Python."""
        code = self.step.habit if self.slips else self.step.code
        return code.format(k=self.k, j=self.k - 1)


def functions(split: Split, *, difficulty: str = "medium") -> GeneratedDataset:
    """Return one split of the small functions.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``; no two share a function (of one step: no function with the
            same example).
        difficulty: Number of steps (:data:`COUNTS`).
    """
    make = partial(make_item, counts=COUNTS[difficulty])
    return GeneratedDataset(name_of_level(NAME, difficulty, "medium"), split, make)


def make_item(seed: int, split: Split, position: int, *, counts: tuple[int, int]) -> Item:
    """Return a function of so many steps: its specification, tests, solution, and a draft of it.

    A function of another split is given up before its tests are drawn, which takes ten times as long as its steps.
    """
    draws = draws_of(seed, split, position)
    while True:
        parts = draw_parts(draws, draws.whole(*counts))
        shown = draw_argument(draws, parts)
        single = [shown] if len(parts) == 1 else []  # there are too few functions of one step for three splits
        identity = joined([f"{part.step.says}/{part.k}" for part in parts] + single)
        tests = draw_tests(draws, parts, shown) if owns(split, identity) else []
        if tests:
            extra = {"entry_point": ENTRY_POINT, "tests": [[[argument], value] for argument, value in tests]}
            prompt, draft = prompt_for(parts, shown, value_of(parts, shown)), code_of(draw_draft(draws, parts))
            return Item(identity, prompt, (code_of(parts),), (draft,), extra)


def draw_parts(draws: Draws, count: int) -> list[Part]:
    """Return the steps of a function, none of them twice."""
    kind, parts = draws.pick(_STARTS), list[Part]()
    while len(parts) < count:
        step = draws.pick(_STARTING[kind] if len(parts) == count - 1 else _GOING_ON[kind])
        if all(part.step is not step for part in parts):
            parts.append(Part(step, draws.whole(*step.range)))
            kind = step.gives
    return parts


def draw_draft(draws: Draws, parts: Sequence[Part]) -> list[Part]:
    """Return a function as a hurried writer writes it: steps by habit, and two of them in the wrong order."""
    draft = [part._replace(slips=bool(part.step.habit) and draws.chance(SLIPS)) for part in parts]
    if draws.chance(SWAPS):
        place = first_exchangeable(parts)
        draft[place : place + 2] = draft[place : place + 2][::-1]
    return draft


def first_exchangeable(parts: Sequence[Part]) -> int:
    """Return the place of the first two steps that may come in either order; the number of steps if there are none."""
    for place in range(len(parts) - 1):
        first, second = parts[place].step, parts[place + 1].step
        if first.takes == first.gives == second.takes == second.gives:
            return place
    return len(parts)


def draw_tests(draws: Draws, parts: Sequence[Part], shown: Any) -> list[tuple[Any, Any]]:
    """Return arguments and values of tests; an empty list for a function that shows too little of what it does.

    All values differ, that of the argument shown included, and only the empty argument may come back as it is: no
    constant passes more than one test. The draft with all faults passes half of the tests at most.
    """
    faulty, empty = _with_all_faults(parts), shown[:0]
    tests = [(empty, value_of(parts, empty))]
    values, harmless = {repr(tests[0][1])}, 0
    for tried in range(_MOST_TRIES):
        argument = draw_argument(draws, parts) if tried else shown
        value = value_of(parts, argument)
        is_harmless = value == value_of(faulty, argument)
        if repr(value) not in values and value != argument and (not is_harmless or harmless < TESTS // 2 - 1):
            values.add(repr(value))
            harmless += is_harmless
            tests.append((argument, value))
        if len(tests) == 1:
            return []  # what is shown tells nothing
        if len(tests) == TESTS + 1:
            return [tests[0], *tests[2:]]
    return []


def _with_all_faults(parts: Sequence[Part]) -> list[Part]:
    faulty = [part._replace(slips=bool(part.step.habit)) for part in parts]
    place = first_exchangeable(parts)
    faulty[place : place + 2] = faulty[place : place + 2][::-1]
    return faulty


def draw_argument(draws: Draws, parts: Sequence[Part]) -> Any:
    """Return an argument in which the limits of a function occur."""
    if parts[0].step.takes == "text":
        return " ".join(draws.pick(_WORDS) for _ in range(draws.whole(1, 4)))
    limits = [part.k for part in parts if part.k] or [4]
    return [draws.pick(limits) if draws.chance(0.3) else draws.whole(0, 9) for _ in range(draws.whole(2, 6))]


def value_of(parts: Sequence[Part], value: Any) -> Any:
    """Return the value of a function; something that equals nothing else if it fails."""
    try:
        for step, k, slips in parts:
            value = step.slip(value, k) if slips and step.slip else step.value(value, k)
    except (ValueError, IndexError, TypeError):
        return _FAILED
    return value


def code_of(parts: Sequence[Part]) -> str:
    """Return the body of a function, without the indent of its first line."""
    *others, last = [part.code for part in parts]
    return "\n    ".join((*(f"x = {code}" for code in others), f"return {last}"))


def prompt_for(parts: Sequence[Part], argument: object, value: object) -> str:
    """Return the beginning of a function: its specification, and an example of what it does."""
    says = ", then ".join(part.step.says.format(k=part.k) for part in parts)
    return f'def f(x):\n    """{says[0].upper()}{says[1:]}.\n\n    >>> f({argument!r})\n    {value!r}\n    """'
