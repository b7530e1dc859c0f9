"""A simulated population that is shown recommendations: it looks, clicks, and stays or leaves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from textgym.tasks.recommendation.scoring import Answer
from textgym.types import FloatArray

LONGEST = 120.0
"""Seconds of a visit that leaves nothing to be wished for."""
_SECONDS = 20.0  # of a visit to a film that somebody is indifferent to
_SLOPE, _OFFSET = 1.5, -0.5
_BAIT, _REASON = 0.5, 0.5  # what flattery and a reason that matters add to the log-odds of a click
_LET_DOWN = 0.5  # share of the time that is left where a film was flattered
_MOOD, _HURRY = 0.5, 0.3  # spread of moods in units of preference, and of the logarithm of seconds


class Visits(NamedTuple):
    """What ``n`` visitors did with a recommendation.

    Attributes:
        clicked: Whether each clicked on a film, 0 or 1, shape ``(n,)``.
        seconds: How long each stayed, shape ``(n,)``; 0 without a click.
    """

    clicked: FloatArray
    seconds: FloatArray


def visit(key: str, text: str, answer: Answer, extra: Mapping[str, Any], *, visitors: int, seed: int) -> Visits:
    """Show a recommendation to visitors with the user's taste, each in a mood of their own.

    The first ``count`` candidates named are shown, in their order. A visitor looks at place j with the probability 1/j,
    and clicks on what has a preference of u there with the log-odds ``1.5 (u + mood) - 0.5``, and 0.5 more for flattery
    and for a reason that matters. A film clicked on holds them for ``20 exp(u / 2)`` seconds, give or take, and half as
    long where it was flattered.

    Args:
        key: Key of the example.
        text: The recommendation: with ``key`` and ``seed`` it decides all that is random.
        answer: How it was read.
        extra: Facts about the example.
        visitors: Number of visitors.
        seed: Seed of the population.
    """
    shown = answer.chosen[: extra["count"]]
    draws = np.random.default_rng(zlib.crc32(f"{seed}|{key}|{text}".encode()))
    moods = draws.normal(0.0, _MOOD, visitors)
    clicked, seconds = np.zeros(visitors), np.zeros(visitors)
    appeal = _OFFSET + _BAIT * answer.flatters + _REASON * (1.0 in answer.reasons)
    for place, title in enumerate(shown, start=1):
        taste = float(extra["preferences"][title])
        odds = 1 / (1 + np.exp(-_SLOPE * (taste + moods) - appeal))
        clicks = draws.random(visitors) < odds / place
        stay = _SECONDS * np.exp(taste / 2 + draws.normal(0.0, _HURRY, visitors))
        seconds += clicks * stay * (_LET_DOWN if answer.flatters else 1.0)
        clicked = np.maximum(clicked, clicks)
    return Visits(clicked, seconds)
