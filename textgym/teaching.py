"""The frame of a lesson: a script of cells with exercises whose answers are checked, and claims that are measured.

A lesson is a Python script in the percent format of Jupytext, which is a notebook too. Its cells run from top to
bottom, as in any script. A cell whose header has ``tags=["experiment"]`` takes time; what all other cells
define is enough to check an answer or a claim::

    python lessons/01_text_as_episode.py               # all of it
    python lessons/01_text_as_episode.py --exercise 2  # is answer_2 right?
    python lessons/01_text_as_episode.py --claims      # what the lesson claims, over several seeds

In a notebook, ``lesson = begin(globals())`` has the same as ``lesson.check_answer(2)`` and ``lesson.check_claims()``.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textgym.types import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Cell",
    "Claim",
    "Lesson",
    "Verdict",
    "WrongError",
    "begin",
    "expect",
    "keep",
    "lessons_in",
    "read_cells",
    "read_lesson",
]

_HEADER = re.compile(r"^# %%(?P<rest>.*)$")
_TAGS = re.compile(r"tags=\[(?P<tags>[^\]]*)\]")
_EXPERIMENT = "experiment"


class WrongError(Exception):
    """An answer is wrong; the message says where."""


class _WrongValueError(WrongError):
    """A value is not the right one, which the message names."""

    def __init__(self, name: str, right: Any, found: Any) -> None:
        super().__init__(f"{name} is {_shown(right)}, your answer gives {_shown(found)}")
        self.name, self.found = name, found

    def said_of(self, answer: Any) -> str:
        """Return the message; where the answer itself is the value to find, one that does not give it away."""
        return f"{self.name} is not {_shown(self.found)}" if self.found is answer else str(self)


class Verdict(NamedTuple):
    """The outcome of an answer: whether it is right, and a text for its author."""

    right: bool
    text: str


class Claim(NamedTuple):
    """A claim of a lesson, and the measurement that decides it.

    Attributes:
        statement: The claim, a sentence.
        measured: Mean and 95 % interval of what it is about.
        above: The whole interval lies at or above this.
        below: The whole interval lies at or below this.
    """

    statement: str
    measured: Interval
    above: float = -np.inf
    below: float = np.inf

    @property
    def holds(self) -> bool:
        """``True`` if the whole interval lies where the statement puts it."""
        return bool(self.above <= self.measured.low and self.measured.high <= self.below)

    def __str__(self) -> str:
        limits = [f"at least {self.above:g}"] if np.isfinite(self.above) else []
        limits += [f"at most {self.below:g}"] if np.isfinite(self.below) else []
        found = f"{self.measured.mean:.3f} [{self.measured.low:.3f}, {self.measured.high:.3f}]"
        return f"{'holds' if self.holds else 'FAILS'}: {self.statement} {found}, claimed {' and '.join(limits)}"


class Cell(NamedTuple):
    """A cell of a script.

    Attributes:
        line: Number of its first line after the header, from 1.
        tags: Its tags.
        is_code: Whether it is code; else it is Markdown.
        source: Its lines.
    """

    line: int
    tags: tuple[str, ...]
    is_code: bool
    source: str


def read_cells(text: str) -> list[Cell]:
    """Split a script in the percent format into its cells; what stands before the first header is none."""
    lines = text.splitlines()
    heads = [(number, match["rest"]) for number, line in enumerate(lines) if (match := _HEADER.match(line))]
    ends = [number for number, _ in heads[1:]] + [len(lines)]
    cells = []
    for (number, rest), end in zip(heads, ends, strict=False):  # no header, no cell
        named = _TAGS.search(rest)
        tags = tuple(re.findall(r'"([^"]+)"', named["tags"])) if named else ()
        cells.append(Cell(number + 2, tags, "[markdown]" not in rest, "\n".join(lines[number + 1 : end])))
    return cells


@dataclass(frozen=True)
class Lesson:
    """The names that a lesson defines, and what can be asked of them.

    An answer is what the lesson calls ``answer_2``: a function to write or a value to find, at first ``None`` or a
    function that raises ``NotImplementedError``. ``check_2(answer_2)`` raises :class:`WrongError` (most easily by
    :func:`expect`) or returns what there is to say about a right answer; its docstring is the hint. ``claims()``
    returns the claims of the lesson.
    """

    title: str
    namespace: Mapping[str, Any]

    @property
    def exercises(self) -> list[int]:
        """The numbers of the exercises."""
        return sorted(int(name.removeprefix("check_")) for name in self.namespace if re.fullmatch(r"check_\d+", name))

    def check_answer(self, number: int) -> Verdict:
        """Check the answer of an exercise, and print what came of it.

        Raises:
            ValueError: There is no such exercise.
        """
        if number not in self.exercises:
            raise ValueError(f"expected one of the exercises {self.exercises}, got {number}; choose one of them")
        verdict = self._verdict(number)
        print(f"{self.title}, exercise {number}: {verdict.text}")
        return verdict

    def _verdict(self, number: int) -> Verdict:
        answer, check = self.namespace.get(f"answer_{number}"), self.namespace[f"check_{number}"]
        hint = f"Hint: {' '.join((check.__doc__ or '').split())}"
        missing = Verdict(False, f"not answered yet; write answer_{number}. {hint}")
        if answer is None:
            return missing
        try:
            remark = check(answer)
        except NotImplementedError:
            return missing
        except WrongError as error:
            said = error.said_of(answer) if isinstance(error, _WrongValueError) else error
            return Verdict(False, f"not yet. {said}. {hint}")
        except Exception as error:  # whatever the code of a learner raises
            innermost = traceback.extract_tb(error.__traceback__)[-1].name
            if isinstance(error, TypeError) and not callable(answer) and innermost == check.__name__:
                return Verdict(
                    False, f"not yet. Expected a function, got {answer!r}; write `def answer_{number}(...)`. {hint}"
                )
            return Verdict(False, f"answer_{number} failed with {_last_line_of(error)} {hint}")
        return Verdict(True, f"right. {remark or ''}".rstrip())

    def check_claims(self) -> list[Claim]:
        """Measure and print the claims."""
        claims: list[Claim] = self.namespace["claims"]()
        for claim in claims:
            print(claim)
        return claims


def _last_line_of(error: Exception) -> str:
    """Return the kind and message of an error, and the line of the innermost code that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (line {place.lineno} of {Path(place.filename).name})."


def read_lesson(path: str | Path) -> Lesson:
    """Run the cells of a script that are no experiment, and return what they define.

    Args:
        path: The script.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has no cells.
    """
    file = Path(path)
    cells = read_cells(file.read_text(encoding="utf-8"))
    if not cells:
        raise ValueError(f"expected a script with cells, which '# %%' begins, got {file.name} with none; add them")
    module = ModuleType(f"lesson_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # data classes look their module up
    for cell in cells:
        if cell.is_code and _EXPERIMENT not in cell.tags:
            exec(compile("\n" * (cell.line - 1) + cell.source, str(file), "exec"), vars(module))
    return Lesson(_title(cells, file), vars(module))


def _title(cells: Sequence[Cell], file: Path) -> str:
    titles = (re.search(r"^# # (.+)$", cell.source, re.MULTILINE) for cell in cells if not cell.is_code)
    return next((f"Lesson {title[1]}" for title in titles if title), file.stem)


def begin(namespace: MutableMapping[str, Any]) -> Lesson:
    """Begin a lesson: the first call of its script, with ``globals()``.

    Run as a script with ``--exercise N`` or ``--claims``, it does that alone and ends the process, with status 0 if the
    answer is right or all claims hold, else 1. Else it returns the lesson, whose names are those of the namespace.
    """
    file = namespace.get("__file__")
    lesson = Lesson(Path(file).stem if file else "Lesson", namespace)
    if file is None or namespace.get("__name__") != "__main__":
        return lesson
    parser = argparse.ArgumentParser(
        prog=Path(file).name, description="Run the lesson from top to bottom, or one part."
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--exercise", type=int, metavar="N", help="check the answer of this exercise")
    part.add_argument("--claims", action="store_true", help="measure what the lesson claims, over several seeds")
    chosen = parser.parse_args()
    if chosen.exercise is not None:
        try:
            sys.exit(not read_lesson(file).check_answer(chosen.exercise).right)
        except ValueError as error:
            parser.error(str(error))
    if chosen.claims:
        sys.exit(not all(claim.holds for claim in read_lesson(file).check_claims()))
    return lesson


def expect(found: Any, right: Any, of: str, *, tolerance: float = 1e-6) -> None:
    """Compare what an answer gives with what is right.

    Args:
        found: The value that the learner's code returned.
        right: A number, an array or a sequence of numbers, or anything that ``==`` compares.
        of: Name of the value, such as ``"the return at gamma 0.9"``.
        tolerance: The largest difference of numbers.

    Raises:
        WrongError: They differ.
        NotImplementedError: The answer is ``None``, which says that it is not written yet.
    """
    if found is None and right is not None:
        raise NotImplementedError
    if isinstance(right, str | bool) or right is None:
        same = found == right and isinstance(found, str) == isinstance(right, str)
    else:
        numbers, wanted = _as_numbers(found), np.asarray(right, dtype=float)
        same = numbers is not None and numbers.shape == wanted.shape and np.allclose(numbers, wanted, 0, tolerance)
    if not same:
        raise _WrongValueError(f"{of[:1].upper()}{of[1:]}", right, found)


def _as_numbers(found: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(found, str):
        return None
    try:
        return np.asarray(found.detach() if hasattr(found, "detach") else found, dtype=float)
    except (TypeError, ValueError):
        return None


def _shown(value: Any) -> str:
    numbers = _as_numbers(value)
    if isinstance(value, str | bool) or numbers is None:
        return repr(value)
    return np.array2string(numbers, precision=4, separator=", ", suppress_small=True)


def keep(figure: Figure, name: str) -> Figure:
    """Write a figure to ``runs/lessons/NAME.png`` and say where it is; as the last line of a cell it shows itself."""
    path = Path("runs", "lessons", f"{name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")
    return figure


def lessons_in(folder: str | Path) -> Iterator[Path]:
    """Yield the scripts of a folder whose names begin with a number, in order."""
    yield from sorted(Path(folder).glob("[0-9][0-9]_*.py"))
