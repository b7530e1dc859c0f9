"""A source of choices for whatever makes up texts: the same choices in every process, and cheap ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(slots=True)
class Draws:
    """A source of choices fed from blocks of uniform numbers: one scalar numpy call per choice would be 10 x slower."""

    generator: np.random.Generator
    block: list[float] = field(default_factory=list)

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        if not self.block:
            self.block = self.generator.random(64).tolist()
        return self.block.pop()

    def chance(self, share: float) -> bool:
        """Return whether something happens that has the probability ``share``."""
        return self.uniform() < share

    def whole(self, low: int, high: int) -> int:
        """Return a whole number of ``low`` to ``high``, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self.uniform() * len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different options in random order; all of them where there are no more."""
        return self.shuffled(options)[:count]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return all options in random order."""
        rest = list(options)
        return [rest.pop(int(self.uniform() * len(rest))) for _ in range(len(rest))]
