"""Groups of annotators who answer systematically opposite to each other, and which of them is reversed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from textgym.feedback.types import Comparison, Ranking, Rating, Record
from textgym.metrics.intervals import proportion_interval
from textgym.types import FloatArray, Shown

Attention = Mapping[str, tuple[int, int]]
"""By annotator: attention checks answered as expected, and all that were answered."""
_SIGMAS, _SEEMING = 3.0, 2.0
_WEAKEST = 0.2  # of a correlation: the share of equal answers is below 0.4, or above 0.6
_MAJORITY = 3  # times as many people
_ROUNDS = 20
_MOST_LEFT_OUT = 3  # people who guess, to find groups among the others
_Groups = tuple[list[int], list[int]]


class Opposition(NamedTuple):
    """Two groups of annotators: within each people agree, and between them they answer the opposite.

    That alone does not say which group is reversed, as if their labels were swapped: the smaller one need not be.

    Attributes:
        first, second: Names in the larger and in the smaller group, sorted.
        checks: Attention checks passed and answered by the first and by the second group.
        reversed: Names of the group that is reversed; empty if that is open.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    checks: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    reversed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say who disagrees, and who is reversed or why that is open."""
        first, second = map(", ".join, (self.first, self.second))
        (right, asked), (other_right, other_asked) = self.checks
        passed = f"{right} of {asked} attention checks passed by {first}, {other_right} of {other_asked} by {second}"
        known = asked > 0 and other_asked > 0
        if self.reversed:
            people = "is" if len(self.reversed) == 1 else "are"
            others = first if self.reversed == self.second else second
            why = passed if known else f"{len(self.first)} others agree with each other; no attention checks confirm it"
            return (
                f"{', '.join(self.reversed)} {people} reversed, answering systematically opposite to {others}: are "
                f"labels swapped? ({why})"
            )
        why = (
            f"attention checks do not decide it ({passed})"
            if known
            else "attention checks, which decide it, are missing"
        )
        return f"two groups disagree systematically: {first} | {second}; which of them is reversed is undecided: {why}"


def find_oppositions(records: Iterable[Record], attention: Attention | None = None) -> list[Opposition]:
    """Find groups of annotators who answer systematically opposite to each other.

    What counts are preferences between two texts that two people or more have: comparisons, pairs of a ranking, and
    of one annotator's ratings. Two people agree by ``2 * share - 1`` about a prompt; people belong to a group, and two
    groups are opposed, by the sum over prompts of its mean over the others: three standard deviations from what
    guesses give, and beyond 0.2 on average. If people who guess hide the groups, up to three are left out.

    The attention checks decide who is reversed, if one group passes more of them and the 95 % intervals are apart.
    Without checks on both sides, a group is that beside which the other is three times as large. Else it is left open.

    Args:
        records: Records of any kind.
        attention: Attention checks by annotator, as :meth:`~textgym.feedback.store.project.FeedbackStore.attention`.
    """
    preferences = _preferences(records)
    names = sorted({name for signs in preferences.values() for name in signs})
    tables = _tables(preferences, names)
    found = []
    for groups in _opposed(tables, len(names)):
        sides = [tuple(names[place] for place in sorted(group)) for group in _completed(tables, len(names), groups)]
        first, second = sorted(sides, key=lambda side: (-len(side), side))
        found.append(_decided(Opposition(first, second), attention or {}))
    return found


def undecided_pairs(records: Iterable[Record], found: Iterable[Opposition] = ()) -> list[str]:
    """Return sentences about two people who seem to answer the opposite, but about too few questions to be sure.

    Args:
        records: Records of any kind.
        found: Oppositions that :func:`find_oppositions` finds in them; people in these are left out.
    """
    preferences = _preferences(records)
    names = sorted({name for signs in preferences.values() for name in signs})
    sums, squares, counts = (np.zeros((len(names), len(names))) for _ in range(3))
    for people, agreement, shared in _tables(preferences, names):
        pairs = np.ix_(people, people)
        sums[pairs] += agreement
        squares[pairs] += agreement**2
        counts[pairs] += shared
    named = {name for each in found for name in (*each.first, *each.second)}
    compared = list(zip(*np.nonzero(np.triu(counts)), strict=True))
    sigmas = _sigmas(max(len(compared), 1), _SEEMING)
    return [
        f"{names[one]} and {names[other]} seem to answer the opposite of each other, but share the questions about "
        f"{counts[one, other]:.0f} prompts only: whether one of them is reversed is left open; ask both more of the "
        "same questions"
        for one, other in compared
        if named.isdisjoint((names[one], names[other]))
        and -sums[one, other] >= max(sigmas * math.sqrt(squares[one, other]), _WEAKEST * counts[one, other]) > 0
    ]


def _decided(groups: Opposition, attention: Attention) -> Opposition:
    passed = [
        tuple(sum(attention.get(name, (0, 0))[part] for name in side) for part in (0, 1))
        for side in (groups.first, groups.second)
    ]
    checks = ((passed[0][0], passed[0][1]), (passed[1][0], passed[1][1]))
    first, second = (proportion_interval(right, asked) for right, asked in checks)
    if all(asked for _, asked in checks):
        decided = groups.second if first.low > second.high else groups.first if second.low > first.high else ()
    else:
        decided = groups.second if len(groups.first) >= _MAJORITY * len(groups.second) else ()
    return groups._replace(checks=checks, reversed=decided)


_Unit = tuple[str, Shown, str, str]


def _preferences(records: Iterable[Record]) -> dict[_Unit, dict[str, float]]:
    """Return who prefers which of two texts, 1 for the first in sorted order and -1 for the second; ties left out."""
    found: dict[_Unit, dict[str, float]] = defaultdict(dict)
    ratings: dict[tuple[str, str, Shown], dict[str, float]] = defaultdict(dict)
    for record in records:
        if isinstance(record, Rating):
            ratings[record.annotator, record.task_key, record.prompt][record.response] = float(record.rating)
        else:
            for pair, sign in _signs(_qualities(record)):
                found[record.task_key, record.prompt, *pair][record.annotator] = sign
    for (annotator, key, prompt), grades in ratings.items():
        for pair, sign in _signs(grades):
            found[key, prompt, *pair][annotator] = sign
    return found


def _qualities(record: Record) -> Mapping[str, float]:
    match record:
        case Comparison(choice="a" | "b"):
            return {record.chosen: 1.0, record.rejected: 0.0}
        case Ranking():
            return {text: -float(rank) for text, rank in zip(record.responses, record.ranks, strict=True)}
    return {}


def _signs(qualities: Mapping[str, float]) -> Iterator[tuple[tuple[str, str], float]]:
    for one, other in combinations(sorted(qualities), 2):
        if qualities[one] != qualities[other]:
            yield (one, other), math.copysign(1.0, qualities[one] - qualities[other])


class _Table(NamedTuple):
    """The agreement about one prompt: places of ``k`` people, and for every two the mean in [-1, 1], 0 with oneself.

    ``shared`` is 1 for two who have answered the same questions, else 0; both have shape ``(k, k)``.
    """

    people: tuple[int, ...]
    agreement: FloatArray
    shared: FloatArray


def _tables(preferences: Mapping[_Unit, Mapping[str, float]], names: Sequence[str]) -> list[_Table]:
    """Return the agreement about every prompt that two people or more have answered questions about."""
    about: dict[tuple[str, Shown], list[Mapping[str, float]]] = defaultdict(list)
    for (key, prompt, _, _), signs in preferences.items():
        if len(signs) > 1:
            about[key, prompt].append(signs)
    place = {name: number for number, name in enumerate(names)}
    return [_table(units, place) for units in about.values()]


def _table(units: Sequence[Mapping[str, float]], place: Mapping[str, int]) -> _Table:
    people = sorted({place[name] for signs in units for name in signs})
    row = {person: number for number, person in enumerate(people)}
    signs = np.zeros((len(people), len(units)))
    for column, said in enumerate(units):
        signs[[row[place[name]] for name in said], column] = list(said.values())
    counts = np.abs(signs) @ np.abs(signs).T
    agreement = np.divide(signs @ signs.T, counts, out=np.zeros_like(counts), where=counts > 0)
    np.fill_diagonal(agreement, 0.0)
    np.fill_diagonal(counts, 0.0)
    return _Table(tuple(people), agreement, np.minimum(counts, 1.0))


def _connected(tables: Sequence[_Table], people: int) -> list[set[int]]:
    """Return groups of annotators who share questions, directly or through others."""
    group = {person: {person} for person in range(people)}
    for table in tables:
        for person in table.people[1:]:
            if group[person] is not group[table.people[0]]:
                merged = group[person] | group[table.people[0]]
                group.update(dict.fromkeys(merged, merged))
    return [each for person, each in group.items() if person == min(each) and len(each) > 1]


def _opposed(tables: Sequence[_Table], people: int, left_out: int = 0) -> Iterator[_Groups]:
    """Yield two opposed groups of each set of people who share questions, if there are two.

    Whoever guesses hides others: half of what these say is like the guesses. Where no groups are found, the one who is
    least like anybody is left out, and the others are compared again, more strictly for the choice there was.
    """
    for members in _connected(tables, people):
        own = [table for table in tables if table.people[0] in members]
        sides = _sides(own, people)
        values = _values(own, sides)
        groups = _two_groups(own, sides, values, _sigmas(math.comb(len(members) + left_out, left_out)))
        if groups is not None:
            yield groups
        elif left_out < _MOST_LEFT_OUT and len(members) > 2:
            guessing = min(sorted(members), key=lambda person: abs(_clearness(values[person])))
            others = [_without(table, guessing) for table in own]
            yield from _opposed([table for table in others if len(table.people) > 1], people, left_out + 1)


def _without(table: _Table, person: int) -> _Table:
    rows = [row for row, other in enumerate(table.people) if other != person]
    pairs = np.ix_(rows, rows)
    return _Table(tuple(table.people[row] for row in rows), table.agreement[pairs], table.shared[pairs])


def _two_groups(
    tables: Sequence[_Table], sides: FloatArray, values: Sequence[Sequence[float]], sigmas: float
) -> _Groups | None:
    """Return the places of those who belong to either of two opposed groups; ``None`` if there are no two."""
    belongs = [_is_clear(own, sigmas) for own in values]
    groups = [[place for place in range(len(sides)) if belongs[place] and sides[place] == side] for side in (1.0, -1.0)]
    between = [_between(table, *groups) for table in tables]
    opposed = _is_clear([-value for value in between if value is not None], sigmas)
    return (groups[0], groups[1]) if opposed else None


def _completed(tables: Sequence[_Table], people: int, groups: _Groups) -> _Groups:
    """Return groups with those who answer like one of them, and were not seen to beside others who guess."""
    sides = np.zeros(people)
    for group, side in zip(groups, (1.0, -1.0), strict=True):
        sides[group] = side
    for person, own in enumerate(_values(tables, sides)):
        if not sides[person] and _is_clear(own, _SIGMAS):
            groups[0].append(person)
        elif not sides[person] and _is_clear([-value for value in own], _SIGMAS):
            groups[1].append(person)
    return groups


def _values(tables: Sequence[_Table], sides: FloatArray) -> list[list[float]]:
    """Return for everybody how far they agree with others who are on a side: one value per prompt.

    It is the agreement with their own side; of somebody on none, that with the first. What several others say about a
    prompt is not independent, and so is one value.
    """
    values: list[list[float]] = [[] for _ in sides]
    for table in tables:
        rows = list(table.people)
        own = np.where(sides[rows] == 0, 1.0, sides[rows])
        counts = table.shared @ np.abs(sides[rows])
        means = own * _means(table.agreement @ sides[rows], counts)
        for person, value, count in zip(rows, means, counts, strict=True):
            values[person] += [float(value)] if count else []
    return values


def _sides(tables: Sequence[_Table], people: int) -> FloatArray:
    """Return 1 or -1 for everybody, so that those alike agree and others disagree as far as possible."""
    sums = np.zeros((people, people))
    for table in tables:
        sums[np.ix_(table.people, table.people)] += table.agreement
    sides = np.where(np.linalg.eigh(sums)[1][:, -1] < 0, -1.0, 1.0)
    for _ in range(_ROUNDS):
        turned = np.where(sums @ sides < 0, -1.0, 1.0)
        if (turned == sides).all():
            break
        sides = turned
    return np.asarray(sides)


def _between(table: _Table, first: Sequence[int], second: Sequence[int]) -> float | None:
    """Return the mean agreement of two groups about a prompt; ``None`` where they share no question."""
    rows, columns = ([row for row, person in enumerate(table.people) if person in group] for group in (first, second))
    pairs = np.ix_(rows, columns)
    count = float(table.shared[pairs].sum())
    return float(table.agreement[pairs].sum()) / count if count else None


def _means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)


def _is_clear(values: Sequence[float], sigmas: float) -> bool:
    """Return whether values, one per prompt, are beyond what guesses give, which have either sign equally often."""
    return bool(values) and _clearness(values) >= sigmas and sum(values) >= _WEAKEST * len(values)


def _clearness(values: Sequence[float]) -> float:
    """Return by how many standard deviations the sum of values differs from 0, if either sign is equally likely."""
    spread = math.sqrt(sum(value * value for value in values))
    return sum(values) / spread if spread else 0.0


def _sigmas(choices: int, sigmas: float = _SIGMAS) -> float:
    """Return how many standard deviations are needed where one of several groups of people was chosen (Bonferroni)."""
    normal = NormalDist()
    return -normal.inv_cdf(normal.cdf(-sigmas) / choices)
