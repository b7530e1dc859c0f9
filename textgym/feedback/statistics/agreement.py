"""Agreement of annotators with each other, and position bias."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from textgym.feedback.types import Comparison, Ranking, Rating, Record, of_kind, shown_order
from textgym.metrics.intervals import clustered_proportion_interval, proportion_interval
from textgym.types import FloatArray, IntArray, Interval

Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["linear", "quadratic"]
_NOMINAL = {"b": -1.0, "tie": 0.0, "a": 1.0, "both_bad": 2.0}


class Answers(NamedTuple):
    """A table of answers: annotators by units.

    Attributes:
        annotators: Names of the ``m`` annotators, sorted.
        values: Answer of each to each of ``n`` units, NaN where there is none; shape ``(m, n)``.
    """

    annotators: tuple[str, ...]
    values: FloatArray


def collect_answers(
    records: Iterable[Record], kind: type[Comparison | Rating | Ranking], level: Level = "nominal"
) -> Answers:
    """Put the answers of one kind into a table.

    A unit is a pair of texts (in either order) about a prompt, or a text that was rated or ranked among the same texts.
    The value is the choice (1 for one text, -1 for the other, 0 for a tie, 2 for both bad; on an ordinal or interval
    scale both bad is 0 as well: neither is better), the rating, or the rank.

    Args:
        records: Records of any kind; if somebody answered a unit twice, the later one counts.
        kind: The records to use.
        level: Level of measurement of the values.
    """
    cells = _cells(records, kind, level)
    annotators = sorted({annotator for annotator, _ in cells})
    columns = {unit: column for column, unit in enumerate(dict.fromkeys(unit for _, unit in cells))}
    rows = {annotator: row for row, annotator in enumerate(annotators)}
    values = np.full((len(annotators), len(columns)), np.nan)
    for (annotator, unit), value in cells.items():
        values[rows[annotator], columns[unit]] = value
    return Answers(tuple(annotators), values)


def krippendorff_alpha(values: FloatArray, level: Level = "nominal") -> float | None:
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives, below 0 systematic disagreement.

    Args:
        values: Answers, NaN where there is none; shape ``(annotators, units)``.
        level: Whether only equal values agree, their order counts, or their distance.

    Returns:
        Alpha; ``None`` where it is not defined: no unit has two answers, or all of those are the same value.

    References:
        K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011); ``alpha = 1 - D_o / D_e`` from the
        coincidence matrix ``o``.
    """
    domain, coincidences = _coincidences(np.asarray(values, dtype=np.float64))
    totals = coincidences.sum(axis=1)  # (V,)
    expected = np.outer(totals, totals)
    distances = _squared_distances(domain, totals, level)  # (V, V)
    expected_disagreement = float((expected * distances).sum())
    if expected_disagreement == 0:
        return None
    return 1.0 - (float(totals.sum()) - 1.0) * float((coincidences * distances).sum()) / expected_disagreement


def alpha_over_time(
    records: Sequence[Record], kind: type[Comparison | Rating | Ranking], level: Level = "nominal", points: int = 20
) -> list[tuple[int, float]]:
    """Return Krippendorff's alpha of the first records, for growing numbers of them.

    Args:
        records: Records of any kind, oldest first.
        kind: The records to use.
        level: Level of measurement as in :func:`krippendorff_alpha`.
        points: How many numbers, evenly spaced.

    Returns:
        ``(how many records, alpha)``, where alpha is defined.
    """
    used = of_kind(records, kind)
    counts = sorted({round(len(used) * point / points) for point in range(1, points + 1)})
    alphas = ((n, krippendorff_alpha(collect_answers(used[:n], kind, level).values, level)) for n in counts)
    return [(n, alpha) for n, alpha in alphas if alpha is not None]


def cohen_kappa(first: FloatArray, second: FloatArray, weights: Weights | None = None) -> float | None:
    """Cohen's kappa of two annotators: 1 is full agreement, 0 what chance gives.

    Args:
        first: Answers of one annotator, NaN where there is none; shape ``(n,)``.
        second: Answers of the other to the same units.
        weights: Let a disagreement count by the distance between the places of both values among all that occur, or its
            square; ``None``: every disagreement counts the same.

    Returns:
        Kappa; ``None`` where it is not defined: no unit was answered by both, or both gave one and the same value only.

    References:
        J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960);
        "Weighted kappa", Psychological Bulletin 70 (1968).
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both = ~(np.isnan(first) | np.isnan(second))
    domain, codes = np.unique(np.concatenate([first[both], second[both]]), return_inverse=True)
    if len(domain) < 2:
        return None
    confusion = np.zeros((len(domain), len(domain)))
    np.add.at(confusion, (codes[: both.sum()], codes[both.sum() :]), 1.0)
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / confusion.sum()
    steps = np.abs(np.subtract.outer(np.arange(len(domain)), np.arange(len(domain))))
    costs = {None: steps > 0, "linear": steps, "quadratic": steps**2}[weights]
    return 1.0 - float((costs * confusion).sum() / (costs * expected).sum())


def agreement_interval(records: Iterable[Record], kind: type[Comparison | Rating | Ranking]) -> Interval | None:
    """:func:`raw_agreement` of the answers of one kind; what is asked about one prompt is not independent."""
    used = list(records)
    units = dict.fromkeys(unit for _, unit in _cells(used, kind, "nominal"))
    return raw_agreement(collect_answers(used, kind).values, [str(unit[1]) for unit in units])


def raw_agreement(values: FloatArray, prompts: Sequence[str] | None = None) -> Interval | None:
    """Share of pairs of annotators who give the same answer, averaged over units, with its 95 % interval.

    The interval is Wilson's: unlike Student's it has a width where everybody agrees about the few units there are.

    Args:
        values: Answers, NaN where there is none; shape ``(annotators, units)``.
        prompts: Key of each unit's prompt; units about one prompt are not independent. ``None``: all are.

    Returns:
        The interval, bounds in [0, 1]; ``None`` if no unit has two answers.
    """
    _, counts = _count_values(np.asarray(values, dtype=np.float64))
    answers = counts.sum(axis=1)  # (units,)
    if not len(answers):
        return None
    shares = (counts * (counts - 1)).sum(axis=1) / (answers * (answers - 1))
    if prompts is None:
        return proportion_interval(float(shares.sum()), len(shares))
    twice = np.flatnonzero((~np.isnan(values)).sum(axis=0) >= 2).tolist()
    return clustered_proportion_interval(shares, [prompts[unit] for unit in twice])


def position_bias(records: Iterable[Record], kind: type[Comparison | Ranking] = Comparison) -> Interval:
    """Share of other texts that the text shown first was preferred to, with its 95 % interval; 0.5 is no bias.

    The order is drawn again for every answer, which makes answers about one prompt independent in this respect; the
    places of one ranking are not.

    Args:
        records: Records of any kind; those with known order count, comparisons with a better text among them.
        kind: Comparisons: how often the text on the left won; or rankings: how often the text at the top was put before
            another one, ties counting half.
    """
    shares = [_lead_of_first(record) for record in of_kind(records, kind) if record.order_seed is not None]
    values = [each for own in shares for each in own]
    return clustered_proportion_interval(values, [number for number, own in enumerate(shares) for _ in own])


def _lead_of_first(record: Comparison | Ranking) -> list[float]:
    """Return of every other text whether the one shown first was preferred to it: 1, 0, or 0.5 for a tie."""
    first, *others = shown_order(len(record.responses), record.order_seed)
    if isinstance(record, Ranking):
        return [(1 + np.sign(record.ranks[other] - record.ranks[first])) / 2 for other in others]
    return [float("ab"[first] == record.choice)] if record.choice in ("a", "b") else []


def _cells(
    records: Iterable[Record], kind: type[Comparison | Rating | Ranking], level: Level
) -> dict[tuple[str, tuple[object, ...]], float]:
    """Return the last answer of every annotator to every unit."""
    return {
        (record.annotator, unit): value for record in of_kind(records, kind) for unit, value in _units(record, level)
    }


def _units(record: Comparison | Rating | Ranking, level: Level) -> Iterator[tuple[tuple[object, ...], float]]:
    """Yield units and values of a record."""
    about = (record.task_key, record.prompt)
    match record:
        case Comparison():
            yield (*about, *sorted(record.responses)), _choice_value(record, level)
        case Rating():
            yield (*about, record.response), float(record.rating)
        case Ranking():
            among = tuple(sorted(record.responses))
            for response, rank in zip(record.responses, record.ranks, strict=True):
                yield (*about, among, response), float(rank)


def _choice_value(record: Comparison, level: Level) -> float:
    """Return the value of a choice between two texts in sorted order."""
    value = _NOMINAL[record.choice]
    if record.choice == "both_bad":
        return value if level == "nominal" else 0.0
    return -value if record.response_a > record.response_b else value


def _count_values(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the values that occur, shape ``(V,)``, and how often in each unit with two answers, ``(units, V)``."""
    known = ~np.isnan(values)
    domain, codes = np.unique(values[known], return_inverse=True)
    counts = np.zeros((values.shape[1], len(domain)), dtype=np.int64)
    np.add.at(counts, (np.nonzero(known)[1], codes), 1)
    return domain, counts[counts.sum(axis=1) >= 2]


def _coincidences(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the values that occur, and how often every two of them meet in a unit, shape ``(V, V)``."""
    domain, counts = _count_values(values)
    weights = 1.0 / (counts.sum(axis=1) - 1)  # (units,)
    weighted = counts * weights[:, None]
    return domain, weighted.T @ counts - np.diag(weighted.sum(axis=0))


def _squared_distances(domain: FloatArray, totals: FloatArray, level: Level) -> FloatArray:
    """Return how much two values differ, shape ``(V, V)``."""
    if level == "nominal":
        return 1.0 - np.eye(len(domain))
    if level == "interval":
        return np.asarray(np.subtract.outer(domain, domain) ** 2)
    # The number of answers between two values, counting half of those at either end.
    middles = np.cumsum(totals) - totals / 2
    return np.asarray(np.subtract.outer(middles, middles) ** 2)
