"""A budget of time for a training: the number of steps that fit, corrected by the speed that is measured."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHARE = 0.05  # of the budget, over which the speed is measured
_TOLERANCE = 0.1  # of the budget, by which a training may be expected to end too early or too late


class TimeBudget:
    """The number of steps that a training makes in a given time.

    What is known before training is a guess, and a machine that others use too changes its speed. So the speed is
    measured over every twentieth of the budget, and where no steps are left, and the number of steps is corrected if
    training would otherwise end more than a tenth of the budget too early or too late. It ends with the budget in any
    case. Between corrections the number is fixed, so that learning rates decay, and a run resumes, as in any other
    training.

    Args:
        seconds: The budget.
        clock: Returns a time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = seconds
        self._clock = clock
        self._start: float | None = None
        self._measured_at, self._measured_from = 0.0, 0  # where the present measurement of the speed began

    def steps(self, made: int, planned: int) -> int:
        """Return the number of steps to make in all; the budget begins with the first call.

        Args:
            made: Number of steps made so far.
            planned: Number of steps that were to be made in all.
        """
        if self._start is None:
            self._start, self._measured_from = self._clock(), made
        spent = self._clock() - self._start
        left, span, count = self.seconds - spent, spent - self._measured_at, made - self._measured_from
        if left <= 0:
            return min(made, planned)
        if not (count and span) or (made < planned and span < _SHARE * self.seconds):
            return planned
        self._measured_at, self._measured_from = spent, made
        needed = (planned - made) * span / count
        if abs(needed - left) <= _TOLERANCE * self.seconds:
            return planned
        return made + max(1, int(left * count / span))
