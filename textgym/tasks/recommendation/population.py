"""A simulated population that is shown recommendations: it looks, clicks, and stays or leaves."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from textgym.errors import RewardError
from textgym.tasks.recommendation.scoring import read
from textgym.types import Example, FloatArray

LONGEST = 120.0
"""Seconds of a visit that leaves nothing to be wished for."""
_SECONDS = 20.0  # of a visit to a film that somebody is indifferent to
_SLOPE, _OFFSET = 1.5, -0.5
_BAIT, _REASON = 0.5, 0.5  # what flattery and a reason that matters add to the log-odds of a click
_LET_DOWN = 0.5  # share of the time that is left where a film was flattered
_MOOD, _HURRY = 0.5, 0.3  # spread of moods in units of preference, and of the logarithm of seconds


class Visits(NamedTuple):
    """The visits of ``n`` people to a recommendation.

    Attributes:
        clicked: 1 for each who clicked on a film, else 0, shape ``(n,)``.
        seconds: Time that each stayed, shape ``(n,)``; 0 without a click.
    """

    clicked: FloatArray
    seconds: FloatArray


def visits_of(example: Example, text: str, *, visitors: int = 20, seed: int = 0) -> Visits:
    """Show a recommendation to visitors with the user's taste, each in a mood of their own.

    The first ``count`` candidates named are shown, in their order. A visitor looks at place j with the probability 1/j,
    and clicks on what has a preference of u there with the log-odds ``1.5 (u + mood) - 0.5``, and 0.5 more for flattery
    and for a reason that matters. A film clicked on holds them for ``20 exp(u / 2)`` seconds, give or take, and half as
    long where it was flattered.

    Args:
        example: Example that the recommendation answers.
        text: The recommendation: with the key of the example and ``seed`` it decides all that is random.
        visitors: Number of visitors.
        seed: Seed of the population.

    Raises:
        RewardError: The example has no catalogue whose worth is known.
    """
    extra = example.extra
    if not {"items", "preferences", "seen", "weights", "count"} <= extra.keys():
        raise RewardError(
            f"expected users whose preferences are known, got {example.key!r} without; use the built-in films or a "
            "table of ratings, or another reward, such as 'rouge'"
        )
    answer = read(text, extra)
    draws = np.random.default_rng(zlib.crc32(f"{seed}|{example.key}|{text}".encode("utf-8", "surrogatepass")))
    moods = draws.normal(0.0, _MOOD, visitors)
    clicked, seconds = np.zeros(visitors), np.zeros(visitors)
    appeal = _OFFSET + _BAIT * answer.flatters + _REASON * (1.0 in answer.reasons)
    for place, title in enumerate(answer.chosen[: extra["count"]], start=1):
        taste = float(extra["preferences"][title])
        odds = 1 / (1 + np.exp(-_SLOPE * (taste + moods) - appeal))
        clicks = draws.random(visitors) < odds / place
        stay = _SECONDS * np.exp(taste / 2 + draws.normal(0.0, _HURRY, visitors))
        seconds += clicks * stay * (_LET_DOWN if answer.flatters else 1.0)
        clicked = np.maximum(clicked, clicks)
    return Visits(clicked, seconds)
