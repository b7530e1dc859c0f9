"""Rows with one response and what somebody thinks of it: read as ratings from 1 to 5.

A label says on which side of the middle a response is, and no more: good is a 4, bad a 2. Written as labels again, both
are what they were, and among ratings they claim least; a fit knows grades by their order alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textgym.feedback.records.shapes.cells import Cells, chat, label
from textgym.feedback.records.shapes.prompts import dialogue_prompt, prompt_of
from textgym.feedback.records.shapes.shape import each
from textgym.feedback.types import Rating, Record
from textgym.text.messages import MessageError, last_answer
from textgym.values import as_text

RESPONSES = ("completion", "response", "answer", "output")
RATINGS = ("rating", "score", "grade", "stars")
_GOOD, _BAD = 4, 2
_ZEROS, _MINUS_ONES = ("0", "0.0"), ("-1", "-1.0")
_WORST, _BEST = 1, 5
_ASPECTS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_ASPECTS_FROM = 0
_MODELS = ("model", "generator", "policy")


def labelled(rows: Sequence[Cells]) -> Sequence[tuple[Cells, Record]]:
    """Read responses that are good or bad: 1 and 0, or 1 and -1, but not all three, of which 0 is in the middle."""
    said = {name: cells for cells in rows if (name := str(cells.row.get("label")).strip()) in (*_ZEROS, *_MINUS_ONES)}
    if not (said.keys().isdisjoint(_ZEROS) or said.keys().isdisjoint(_MINUS_ONES)):
        first = min(said.values(), key=lambda cells: cells.number)
        raise first.error(
            "expected two labels, 1 and 0 or 1 and -1, got 0 and -1 in one file; leave out the rows that are neither "
            "good nor bad, or give grades from 1 to 5 as 'rating'"
        )
    return each(_labelled)(rows)


def _labelled(cells: Cells) -> Rating:
    _, value = cells.answer("a label", "label")
    good = label(value)
    if good is None:
        raise cells.error(f"expected true or false (1 or 0, 1 or -1) as 'label', got {value!r}; correct the row")
    return _rating(cells, _GOOD if good else _BAD)


def rated(cells: Cells) -> Rating:
    """Read a response with a grade from 1 to 5."""
    name, _ = cells.answer("a rating", *RATINGS)
    grade = cells.number_of(name)
    if not grade.is_integer() or not _WORST <= grade <= _BEST:
        raise cells.error(
            f"expected a whole number from {_WORST} to {_BEST} as {name!r}, got {cells.row[name]!r}; map the scale to "
            "these five grades, call 0 and 1 a label, or give the responses to a prompt as a list with scores, which "
            "is read as a ranking"
        )
    return _rating(cells, int(grade))


def rated_aspects(cells: Cells) -> Rating:
    """Read grades from 0 to 4, helpfulness and others: they become 1 to 5, that of helpfulness the overall one."""
    cells.answer("a rating", _ASPECTS[0])
    grades = {name: _aspect(cells, name) for name in _ASPECTS if cells.row.get(name) not in (None, "")}
    record = _rating(cells, grades[_ASPECTS[0]])
    return replace(record, criteria=grades)


def _aspect(cells: Cells, name: str) -> int:
    grade = cells.number_of(name)
    highest = _BEST - _WORST + _ASPECTS_FROM
    if not grade.is_integer() or not _ASPECTS_FROM <= grade <= highest:
        raise cells.error(
            f"expected a whole number from {_ASPECTS_FROM} to {highest} as {name!r}, got {cells.row[name]!r}; correct "
            "the row"
        )
    return int(grade) - _ASPECTS_FROM + _WORST


def _rating(cells: Cells, grade: int) -> Rating:
    prompt, response = dialogue_prompt(prompt_of(cells)), _response(cells)
    model = as_text(cells.get(*_MODELS))
    generators = (model,) if model else ()
    return Rating(*cells.about(prompt), response, grade, annotator=cells.annotator(), generators=generators)


def _response(cells: Cells) -> str:
    """Return the response, a text or the last message of the assistant."""
    name = cells.find(*RESPONSES) or RESPONSES[0]
    found = chat(cells.get(name))
    if not found:
        return cells.text(name)
    try:
        return last_answer(cells.parsed(found, name))
    except MessageError as error:
        raise cells.error(f"{name!r}: {error}; correct the row") from error
