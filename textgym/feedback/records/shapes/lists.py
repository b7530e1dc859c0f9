"""Rows with several responses in an order, or with scores: read as rankings.

A score says more than a place does: how far apart two responses are is not kept, as scales differ between data sets and
annotators. Equal scores are equal places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count, takewhile
from typing import Any

from textgym.feedback.records.shapes.cells import (
    NUMBERS,
    RANKED,
    RATED,
    SCORED,
    SCORES,
    TEXTS,
    Cells,
    Kind,
    UnusableError,
    number,
    structure,
)
from textgym.feedback.records.shapes.prompts import dialogue_prompt, prompt_of
from textgym.feedback.types import Ranking
from textgym.types import Shown
from textgym.values import as_list, as_object, as_text

_TEXT_FIELDS = ("response", "answer", "text", "completion", "content", "output")
_MODEL_FIELDS = ("model", "policy", "source", "generator")
RESPONSES = ("responses", "completions", "generations", "answers", "candidates")
_TOO_FEW = "rows with fewer than two responses to compare"
Listed = tuple[str, float, str]
"""A response, its score (higher is better), and where it came from."""


def places(scores: Sequence[float]) -> tuple[int, ...]:
    """Return the place of each score, 1 the highest; equal scores share the best of their places.

    >>> places([0.5, 2, 2, -1])
    (3, 1, 1, 4)
    """
    return tuple(1 + sum(other > score for other in scores) for score in scores)


def ranked_list(cells: Cells) -> Ranking:
    """Read a list of objects with a response and its ``rank``, the lowest the best."""
    items = _items(cells, RANKED, *RESPONSES)
    return _ranking(cells, dialogue_prompt(prompt_of(cells)), [_listed(cells, item, _by_rank) for item in items])


def scored_list(cells: Cells) -> Ranking:
    """Read a list of objects with a response and its score, the highest the best."""
    items = _items(cells, SCORED, *RESPONSES, "responses_and_scores")
    return _ranking(cells, dialogue_prompt(prompt_of(cells)), [_listed(cells, item, _by_score) for item in items])


def annotated_list(cells: Cells) -> Ranking:
    """Read completions with an overall score, or else with ratings of aspects, whose mean counts."""
    items = _items(cells, RATED, "completions")
    return _ranking(cells, prompt_of(cells), [_listed(cells, item, _by_annotations) for item in items])


def _items(cells: Cells, kind: Kind, *names: str) -> list[Mapping[str, Any]]:
    """Return a list of objects, which may be empty."""
    if structure(cells.get(*names)) == []:
        raise UnusableError(_TOO_FEW)
    items: list[Mapping[str, Any]] = cells.read(kind, *names)
    return items


def _by_rank(item: Mapping[str, Any]) -> float | None:
    rank = number(item.get("rank"))
    return None if rank is None else -rank


def _by_score(item: Mapping[str, Any]) -> float | None:
    return next((score for name in SCORES if (score := number(item.get(name))) is not None), None)


def _by_annotations(item: Mapping[str, Any]) -> float | None:
    overall = number(item.get("overall_score"))
    if overall is not None:
        return overall
    aspects = [number(as_object(aspect).get("Rating")) for aspect in as_object(item.get("annotations")).values()]
    grades = [grade for grade in aspects if grade is not None]
    return sum(grades) / len(grades) if grades else None


def _listed(cells: Cells, item: Mapping[str, Any], score: Callable[[Mapping[str, Any]], float | None]) -> Listed | None:
    """Return a response of a list; ``None`` where it has no score."""
    text = next((item[name] for name in _TEXT_FIELDS if isinstance(item.get(name), str)), None)
    if text is None:
        raise cells.error(f"expected a text as {' or '.join(_TEXT_FIELDS)} of each response, got {', '.join(item)}")
    value = score(item)
    if value is None:
        cells.tally.notes["responses without a score, not ranked"] += 1
        return None
    return text, value, next((as_text(item[name]) for name in _MODEL_FIELDS if item.get(name)), "")


def _ranking(cells: Cells, prompt: Shown, items: Sequence[Listed | None]) -> Ranking:
    kept = [item for item in items if item is not None]
    if len(kept) < 2:
        raise UnusableError(_TOO_FEW)
    responses, scores, models = zip(*kept, strict=True)
    generators = models if all(models) else ()
    return Ranking(*cells.about(prompt), responses, places(scores), annotator=cells.annotator(), generators=generators)


def parallel_scores(cells: Cells) -> Ranking:
    """Read a list of responses, and a list of their scores."""
    return _parallel(cells, cells.read(NUMBERS, "scores", "ratings"))


def parallel_ranks(cells: Cells) -> Ranking:
    """Read a list of responses, and a list of the place of each; the lowest is the best."""
    return _parallel(cells, [-rank for rank in cells.read(NUMBERS, "ranks", "rank")])


def parallel_order(cells: Cells) -> Ranking:
    """Read a list of responses, and their numbers from the best to the worst, counted from 0 or from 1."""
    order = [int(each) for each in cells.read(NUMBERS, "order")]
    first = min(order)
    if first not in (0, 1) or sorted(order) != list(range(first, first + len(order))):
        raise cells.error(f"expected every response once in 'order', got {order}; number them from 0 or from 1")
    best_first = [number - first for number in order]
    return _parallel(cells, [-best_first.index(place) for place in range(len(order))])


def _parallel(cells: Cells, scores: Sequence[float]) -> Ranking:
    responses = cells.read(TEXTS, *RESPONSES)
    if len(responses) != len(scores):
        raise cells.error(f"expected one number for each of {len(responses)} responses, got {len(scores)}; correct it")
    models = [as_text(model) for model in as_list(cells.get("models", "generators"))]
    models = models if len(models) == len(responses) and all(models) else [""] * len(responses)
    return _ranking(cells, dialogue_prompt(prompt_of(cells)), [*zip(responses, scores, models, strict=True)])


def numbered_ranks(cells: Cells) -> Ranking:
    """Read columns ``response_1``, ``rank_1``, ``response_2``, ...; the lowest rank is the best."""
    known = [*takewhile(lambda n: cells.find(f"response_{n}") is not None, count(1))]
    items = [(cells.text(f"response_{n}"), -cells.number_of(f"rank_{n}"), "") for n in known]
    return _ranking(cells, dialogue_prompt(prompt_of(cells)), items)


def ranks_by_row(rows: Sequence[Cells]) -> list[tuple[Cells, Ranking]]:
    """Read rows with one response and its rank each; those of one annotator about one prompt are a ranking."""
    groups: dict[tuple[Shown, str], list[Cells]] = {}
    for cells in rows:
        groups.setdefault((dialogue_prompt(prompt_of(cells)), cells.annotator()), []).append(cells)
    found = []
    for (prompt, _), group in groups.items():
        items = [(cells.text(*_TEXT_FIELDS), -cells.number_of("rank"), _model(cells)) for cells in group]
        try:
            found.append((group[0], _ranking(group[0], prompt, items)))
        except UnusableError as reason:
            group[0].tally.left_out[str(reason)] += len(group)
    return found


def _model(cells: Cells) -> str:
    return as_text(cells.get(*_MODEL_FIELDS))
