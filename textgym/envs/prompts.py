"""Which example comes next, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from textgym.errors import did_you_mean
from textgym.types import Conversation, Example, Prompt, Task

_OPTIONS = ("task_key", "task_keys")


def draw_index(generator: np.random.Generator, size: int) -> int:
    """Return the index of the next example: exactly one 64-bit draw, modulo the number of examples."""
    return int(generator.bit_generator.random_raw() % size)


class RowGenerators:
    """One random generator per copy; copy ``i``'s ``k``-th prompt is a pure function of its seed and ``k``.

    The state is two integers per copy: the seed and how many draws were made.
    """

    def __init__(self, n: int) -> None:
        """Leave all ``n`` copies unseeded until the first reset."""
        self.seeds: list[int | None] = [None] * n
        self.draws = [0] * n
        self.generators: list[np.random.Generator | None] = [None] * n

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Restart the copies that get a seed, and give entropy to those that never had one."""
        for row, seed in enumerate(seeds):
            if seed is not None or self.generators[row] is None:
                self.generators[row], self.seeds[row] = seeding.np_random(seed)
                self.draws[row] = 0

    def draw(self, row: int, size: int) -> int:
        """Return the next index below ``size`` for one copy."""
        generator = self.generators[row]
        assert generator is not None
        self.draws[row] += 1
        return draw_index(generator, size)

    def restore(self, seeds: Sequence[int], draws: Sequence[int]) -> None:
        """Bring every copy to where it was after ``draws[row]`` draws."""
        self.seed(seeds)
        self.draws = [int(count) for count in draws]
        for generator, count in zip(self.generators, self.draws, strict=True):
            assert generator is not None
            generator.bit_generator.advance(count)  # type: ignore[attr-defined]


def plain_seed(seed: int | np.integer[Any] | None) -> int | None:
    """Return a seed as the built-in integer that Gymnasium asks for."""
    if seed is None:
        return None
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"expected an integer as the seed, got {seed!r}")
    return int(seed)


def spread_seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """Return one seed per copy, as Gymnasium's vector environments read ``seed``: ``s, s + 1, ...`` or a list."""
    if seed is None:
        return [None] * n
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(n)]
    if not isinstance(seed, Sequence | np.ndarray):
        raise TypeError(f"expected an integer as the seed or one per copy, got {seed!r}")
    seeds = [plain_seed(item) for item in seed]
    if len(seeds) != n:
        raise ValueError(f"expected {n} seeds, one per copy, got {len(seeds)}; give as many or a single number")
    return seeds


def named_keys(options: Mapping[str, Any] | None, n: int) -> list[str | None]:
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
    keys = options.get("task_keys")
    if keys is None:
        return [_checked_key(options.get("task_key"))] * n
    if isinstance(keys, str) or not isinstance(keys, Sequence | np.ndarray):
        raise TypeError(f"expected task_keys to be a list, one key per copy, got {keys!r:.80}")
    if len(keys) != n:
        raise ValueError(f"expected a list of {n} task_keys, one per copy, got {len(keys)}: {list(keys)!r:.80}")
    return [_checked_key(key) for key in keys]


def _checked_key(key: Any) -> str | None:
    """Return the key of an example, or ``None``, which leaves the choice to chance."""
    if key is not None and not isinstance(key, str):
        raise TypeError(f"expected the key of an example as a string, got {key!r:.80}; info['task_key'] names one")
    return key


def find_example(task: Task, key: str) -> Example:
    """Return the example called ``key``; ``ValueError`` with a suggestion if there is none."""
    try:
        return task.dataset.find(key)
    except KeyError as error:
        message = error.args[0] if error.args else f"no example is called {key!r}"
        raise ValueError(f"expected the key of an example of {task.dataset.name!r}, got {key!r}: {message}") from error


def prompt_of(task: Task, example: Example) -> Prompt:
    """Return how an example is asked: the text before, in and after its body, and the conversation it came as.

    The pieces always join to ``task.format_prompt(example)``; a task whose formatter is more than its template has all
    of its prompt in the body. In a conversation, the last message of the user (or else of anybody but the
    assistant, who then speaks as the user) is what the task formats.
    """
    pieces = _pieces(task, example)
    asked = [place for place, message in enumerate(example.messages) if message.role != "assistant"]
    if not asked:
        return pieces
    place = next((place for place in reversed(asked) if example.messages[place].role == "user"), asked[-1])
    question = replace(example, prompt=example.messages[place].content, messages=())
    earlier, later = example.messages[:place], example.messages[place + 1 :]
    return pieces._replace(conversation=Conversation(earlier, *_pieces(task, question)[:3], later))


def _pieces(task: Task, example: Example) -> Prompt:
    text = task.format_prompt(example)
    before, found, after = task.prompt_template.partition("{prompt}")
    if found and before + example.prompt + after == text:
        return Prompt(before, example.prompt, after)
    return Prompt("", text, "")
