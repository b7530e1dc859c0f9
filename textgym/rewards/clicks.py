"""Clicks and reading time of a simulated population as the reward of recommendations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textgym.tasks.recommendation.population import LONGEST, visits_of
from textgym.types import Example, FloatArray


class Clicks:
    """The clicks of a simulated population on a recommendation of TextRec, and how long they hold it.

    The mean over the visitors of ``(1 - dwell) * clicked + dwell * min(1, seconds / 120)``, in [0, 1]. It is noisy, and
    biased: visitors look at the first place more often than at the second, and flattery draws clicks, though those who
    followed it leave sooner. A text gets the same visits every time.

    Args:
        visitors: Number of visitors of a text; fewer are noisier.
        dwell: Weight of the time, against that of the click.
        seed: Seed of the population.

    Raises:
        ValueError: There is no visitor, or ``dwell`` is not in [0, 1].
    """

    name = "clicks"

    def __init__(self, visitors: int = 20, dwell: float = 0.5, seed: int = 0) -> None:
        if visitors < 1 or not 0 <= dwell <= 1 or seed < 0:
            raise ValueError(
                f"expected visitors of at least 1, dwell in [0, 1] and a seed of at least 0, got {visitors}, {dwell} "
                f"and {seed}"
            )
        self._visitors, self._dwell, self._seed = visitors, dwell, seed

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        pairs = zip(examples, responses, strict=True)
        return np.array([self._score(example, response) for example, response in pairs], dtype=np.float64)

    def _score(self, example: Example, response: str) -> float:
        visits = visits_of(example, response, visitors=self._visitors, seed=self._seed)
        stayed = np.minimum(1.0, visits.seconds / LONGEST)
        return float(np.mean((1 - self._dwell) * visits.clicked + self._dwell * stayed))
