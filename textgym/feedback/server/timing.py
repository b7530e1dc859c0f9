"""Times that answers took: a client may say them, within the time that passed on the clock of the server."""

from __future__ import annotations

import math

LONGEST_SHOWN = 86_400.0
"""Seconds; whoever left a page open for longer than a day did not read for longer."""


def elapsed_seconds(started: float, now: float) -> float:
    """Return the seconds since a question was given out; 0 where a clock was put back."""
    return max(now - started, 0.0)


def seconds_taken(claimed: float | None, elapsed: float) -> float:
    """Return how long an answer took: what the page's own clock says, if that is possible, else all the time there was.

    >>> seconds_taken(2.5, 60.0), seconds_taken(1e308, 60.0), seconds_taken(None, 60.0)
    (2.5, 60.0, 60.0)
    """
    return claimed if claimed is not None and 0 < claimed <= elapsed else elapsed


def capped_dwell(claimed: float, elapsed: float) -> float:
    """Return how long a text was looked at, which is no longer than its question has been there.

    Raises:
        ValueError: It is negative, or not finite.
    """
    if not 0 <= claimed < math.inf:
        raise ValueError(f"expected seconds of 0 or more, got {claimed}; correct them")
    return min(claimed, elapsed)


def shown_seconds(seconds: float) -> float:
    """Return seconds as charts show them: at most a day, so that one impossible number does not flatten all others."""
    return min(max(seconds, 0.0), LONGEST_SHOWN)
