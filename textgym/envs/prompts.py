"""The choice of the next example of each copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from gymnasium.utils import seeding

from textgym.envs.types import EnvState
from textgym.errors import did_you_mean
from textgym.types import Example, Task

_OPTIONS = ("task_key", "task_keys")


def draw_index(generator: np.random.Generator, size: int) -> int:
    """Return the index of the next example: exactly one 64-bit draw, modulo the number of examples."""
    return int(generator.bit_generator.random_raw() % size)


class Root(NamedTuple):
    """The root of the random numbers of the other side of a conversation.

    Attributes:
        seed: Seed of the copy.
        episode: Number of the episode since the copy was seeded.
    """

    seed: int
    episode: int


class RowGenerators:
    """One random generator per copy; copy ``i``'s ``k``-th prompt is a pure function of its seed and ``k``.

    The state is three integers per copy: the seed, how many draws were made, and how many episodes were begun.
    """

    def __init__(self, n: int) -> None:
        """Leave all ``n`` copies unseeded until the first reset."""
        self.seeds: list[int | None] = [None] * n
        self.draws = [0] * n
        self.episodes = [0] * n
        self.generators: list[np.random.Generator | None] = [None] * n

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Restart the copies that get a seed, and give entropy to those that never had one."""
        for row, seed in enumerate(seeds):
            if seed is not None or self.generators[row] is None:
                self.generators[row], self.seeds[row] = seeding.np_random(seed)
                self.draws[row] = self.episodes[row] = 0

    def draw(self, row: int, size: int) -> int:
        """Return the next index below ``size`` for one copy."""
        generator = self.generators[row]
        assert generator is not None
        self.draws[row] += 1
        return draw_index(generator, size)

    def begin(self, row: int) -> Root:
        """Count an episode of one copy, and return its root."""
        self.episodes[row] += 1
        return Root(self.seeds[row] or 0, self.episodes[row] - 1)

    def get_state(self) -> EnvState:
        """Return the state of all copies."""
        return {"seeds": list(self.seeds), "draws": list(self.draws), "episodes": list(self.episodes)}

    def set_state(self, state: EnvState) -> None:
        """Bring every copy back to a state of :meth:`get_state`."""
        self.seed(state["seeds"])
        self.draws = [int(count) for count in state["draws"]]
        self.episodes = [int(count) for count in state.get("episodes", self.draws)]
        for generator, count in zip(self.generators, self.draws, strict=True):
            assert generator is not None
            generator.bit_generator.advance(count)  # type: ignore[attr-defined]


def plain_seed(seed: SupportsIndex | None) -> int | None:
    """Return a seed as the built-in integer that Gymnasium asks for."""
    match seed:
        case None:
            return None
        case int() | np.integer():
            return int(seed)
    raise TypeError(f"expected an integer as the seed, got {seed!r}")


def spread_seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """Return one seed per copy, as Gymnasium's vector environments read ``seed``: ``s, s + 1, ...`` or a list."""
    match seed:
        case None:
            return [None] * n
        case int() | np.integer():
            return [int(seed) + row for row in range(n)]
        case Sequence() | np.ndarray():
            seeds = [plain_seed(item) for item in seed]
        case _:
            raise TypeError(f"expected an integer as the seed or one per copy, got {seed!r}")
    if len(seeds) != n:
        raise ValueError(f"expected {n} seeds, one per copy, got {len(seeds)}; give as many or a single number")
    return seeds


def named_keys(options: Mapping[str, object] | None, n: int) -> list[str | None]:
    """Return the example each copy is asked for by ``options``: ``task_key`` for all, ``task_keys`` one each."""
    if options is None:
        return [None] * n
    if not isinstance(options, Mapping):
        raise TypeError(f"expected reset options as a dict such as {{'task_key': key}}, got {options!r:.80}")
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise ValueError(
            f"expected the reset options {' or '.join(map(repr, _OPTIONS))}, got {unknown[0]!r}."
            f"{did_you_mean(str(unknown[0]), _OPTIONS)}"
        )
    match options.get("task_keys"):
        case None:
            return [_checked_key(options.get("task_key"))] * n
        case ([*_] | np.ndarray()) as keys:  # a string is none of them
            if len(keys) != n:
                raise ValueError(f"expected a list of {n} task_keys, one per copy, got {len(keys)}: {list(keys)!r:.80}")
            return [_checked_key(key) for key in keys]
        case other:
            raise TypeError(f"expected task_keys to be a list, one key per copy, got {other!r:.80}")


def _checked_key(key: object) -> str | None:
    """Return the key of an example, or ``None``, which leaves the choice to chance."""
    match key:
        case None | str():
            return key
    raise TypeError(f"expected the key of an example as a string, got {key!r:.80}; info['task_key'] names one")


def find_example(task: Task, key: str) -> Example:
    """Return the example called ``key``; ``ValueError`` with a suggestion if there is none."""
    try:
        return task.dataset.find(key)
    except KeyError as error:
        message = error.args[0] if error.args else f"no example is called {key!r}"
        raise ValueError(f"expected the key of an example of {task.dataset.name!r}, got {key!r}: {message}") from error
