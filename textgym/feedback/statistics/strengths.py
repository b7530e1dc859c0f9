"""The quality of generators from comparisons: win rates, and Bradley-Terry strengths with intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgym.feedback.types import Comparison, Ranking, Record
from textgym.metrics.intervals import proportion_interval
from textgym.types import FloatArray, Interval, Shown

_TOLERANCE = 1e-10
_MOST_STEPS = 20_000


class _Match(NamedTuple):
    prompt: Shown
    first: str
    second: str
    points: float


class WinRates(NamedTuple):
    """The counts of each generator's wins against each other one.

    Attributes:
        generators: Names of the ``g`` generators, sorted.
        wins: ``wins[i, j]``: how often ``i`` beat ``j``, ties counting half; shape ``(g, g)``.
        worth: Number of independent matches of ``i`` and ``j``, fewer than there are where answers about
            one prompt resemble each other (Kish's design effect); shape ``(g, g)``.
    """

    generators: tuple[str, ...]
    wins: FloatArray
    worth: FloatArray

    def rate(self, first: int, second: int) -> Interval:
        """Return the share of wins of one generator over another with its 95 % interval; 0.5 in [0, 1] without data."""
        wins, losses = float(self.wins[first, second]), float(self.wins[second, first])
        if not wins + losses:
            return proportion_interval(0, 0)
        worth = max(1, round(float(self.worth[first, second])))
        return proportion_interval(worth * (wins / (wins + losses)), worth)


def win_rates(records: Iterable[Record]) -> WinRates:
    """Count wins in comparisons and rankings whose generators are known.

    Ties and "both bad" are half a win for each; every pair of a ranking counts, and texts of one generator do not play
    against each other.
    """
    generators, wins = _wins_by_prompt(list(_matches(records)))
    return WinRates(generators, wins.sum(axis=0), _worth(wins))


def bradley_terry_scores(
    records: Iterable[Record], rng: np.random.Generator, *, resamples: int = 200, prior_draws: float = 1.0
) -> dict[str, Interval]:
    """Strength of every generator with its 95 % interval.

    One of strength ``s`` is preferred to one of strength ``t`` with probability ``sigmoid(s - t)``; the strengths are
    the most likely ones, and their mean is 0. Intervals are percentiles over random weights of the prompts, since
    answers about one prompt are not independent; what the prior says is drawn as well. (Prompts drawn with replacement
    would give a single answer, and whoever won always, an interval of no width.)

    Args:
        records: Comparisons and rankings; matches as in :func:`win_rates`.
        rng: Source of the draws.
        resamples: Number of draws.
        prior_draws: Every generator is given so many ties against one of average strength, which keeps a generator that
            never lost from being infinitely strong (in draws: any share of wins, all equally likely); 0 gives the plain
            maximum of the likelihood, where it exists.

    Returns:
        Intervals by generator, the strongest first.

    References:
        Bradley and Terry, Biometrika 39 (1952); D. R. Hunter, "MM algorithms for generalized Bradley-Terry models",
        Annals of Statistics 32 (2004). Rubin, "The Bayesian bootstrap", Annals of Statistics 9 (1981).
    """
    generators, wins = _wins_by_prompt(list(_matches(records)))
    if not generators:
        return {}
    weights = rng.exponential(size=(resamples, len(wins)))  # (R, P)
    samples = np.concatenate([wins.sum(axis=0)[None], np.tensordot(weights, wins, axes=1)])
    ties = np.full((1, len(generators)), 0.5)
    prior_wins = prior_draws * np.concatenate([ties, rng.random((resamples, len(generators)))])
    strengths = _fit(samples, prior_draws, prior_wins)  # (1 + R, G)
    low, high = np.percentile(strengths, [2.5, 97.5], axis=0)
    found = {
        name: Interval(float(strengths[0, place]), float(low[place]), float(high[place]))
        for place, name in enumerate(generators)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].mean))


def _matches(records: Iterable[Record]) -> Iterator[_Match]:
    for record in records:
        match record:
            case Comparison(prompt=prompt, generators=(_, _) as generators):
                yield from _match(prompt, generators, {"a": 1.0, "b": 0.0}.get(record.choice, 0.5))
            case Ranking(prompt=prompt, generators=(_, *_) as generators):
                placed = zip(generators, record.ranks, strict=True)
                for (first, rank), (second, other) in itertools.combinations(placed, 2):
                    yield from _match(prompt, (first, second), 0.5 + 0.5 * ((rank < other) - (rank > other)))


def _match(prompt: Shown, generators: tuple[str, ...], points: float) -> Iterator[_Match]:
    first, second = generators
    if first != second:
        yield _Match(prompt, first, second, points)


def _wins_by_prompt(matches: Sequence[_Match]) -> tuple[tuple[str, ...], FloatArray]:
    """Return the generators, and the wins of each over each about every prompt, shape ``(P, G, G)``."""
    generators = sorted({name for match in matches for name in (match.first, match.second)})
    places = {name: place for place, name in enumerate(generators)}
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(match.prompt for match in matches))}
    wins = np.zeros((len(prompts), len(generators), len(generators)))
    for prompt, first, second, points in matches:
        wins[prompts[prompt], places[first], places[second]] += points
        wins[prompts[prompt], places[second], places[first]] += 1.0 - points
    return tuple(generators), wins


def _worth(wins: FloatArray) -> FloatArray:
    """Matches of every two generators divided by the design effect of the prompts, (P, G, G) -> (G, G).

    References:
        Kish, "Survey Sampling" (1965), section 8.2.
    """
    matches = wins + wins.transpose(0, 2, 1)  # (P, G, G)
    total = matches.sum(axis=0)
    shares = wins.sum(axis=0) / np.maximum(total, 1.0)
    independent = shares * (1.0 - shares) * total
    found = ((wins - shares * matches) ** 2).sum(axis=0)
    # Where one wins always nothing shows how alike answers are: then a prompt counts once.
    alike = total / np.maximum((matches > 0).sum(axis=0), 1)
    effect = np.where(independent > 0, found / np.where(independent > 0, independent, 1.0), alike)
    return np.asarray(total / np.maximum(effect, 1.0))


def _fit(wins: FloatArray, prior_draws: float, prior_wins: FloatArray) -> FloatArray:
    """Most likely strengths for each of ``n`` tables of wins, ``(n, G, G)`` -> ``(n, G)``, by Hunter's iteration.

    ``p_i <- (wins of i) / sum_j (matches of i and j) / (p_i + p_j)``, where ``exp(strength) = p``; the average player
    of the prior has ``p = 1``, and loses ``prior_wins``, shape (n, G), of its ``prior_draws`` matches with each.
    """
    matches = wins + wins.transpose(0, 2, 1)
    points = wins.sum(axis=2) + prior_wins  # (n, G)
    powers = np.ones(points.shape)
    for _ in range(_MOST_STEPS):
        sums = powers[:, :, None] + powers[:, None, :]
        exposure = (matches / sums).sum(axis=2) + prior_draws / (powers + 1)
        # Who has no match in this draw, and no prior, keeps what they have.
        updated = np.where(exposure > 0, np.maximum(points, 1e-12) / np.where(exposure > 0, exposure, 1.0), powers)
        change = float(np.abs(np.log(updated) - np.log(powers)).max())
        powers = updated
        if change < _TOLERANCE:
            break
    strengths = np.log(powers)
    return np.asarray(strengths - strengths.mean(axis=1, keepdims=True))
