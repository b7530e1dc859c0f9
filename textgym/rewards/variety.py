"""Rewards for texts that repeat neither themselves, nor each other, nor the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from textgym.metrics.words import words_of
from textgym.types import Example, FloatArray, Task

Gram = tuple[str, ...]


def repetition(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, n: int = 4
) -> FloatArray:
    """Score texts by how much they repeat themselves: 0 for not at all, down to -1.

    Args:
        prompts, examples: Not looked at.
        responses: Texts.
        n: Length in words of the runs that are compared.

    Returns:
        One number per text, in (-1, 0]: minus the share of runs of ``n`` words that occurred before in the text; 0 for
        shorter texts.

    Raises:
        ValueError: ``n`` is below 1.

    References:
        Welleck et al., "Neural text generation with unlikelihood training" (2020), seq-rep-n.

    Example:
        >>> repetition([""] * 2, ["a b a b a b", "a b c d e f"], [], n=2).tolist()
        [-0.6, 0.0]
    """
    runs = [grams_of(response, n) for response in responses]
    return np.array([len(set(grams)) / len(grams) - 1 if grams else 0.0 for grams in runs])


def diversity(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, n: int = 2
) -> FloatArray:
    """Score texts by how much of each is in no other text that is scored with it.

    The texts that end in one step of parallel environments, or those of an evaluation, are scored together, so the
    number depends on which these are.

    Args:
        prompts, examples: Not looked at.
        responses: Texts.
        n: Length in words of the runs that are compared.

    Returns:
        One number per text, in [0, 1]: the share of its different runs of ``n`` words that no other of the texts has;
        0 for shorter texts.

    Raises:
        ValueError: ``n`` is below 1.

    References:
        Li et al., "A diversity-promoting objective function for neural conversation models" (2016), distinct-n, for the
        share of each text in it.

    Example:
        >>> diversity([""] * 3, ["a b c", "a b d", "x"], [], n=2).tolist()
        [0.5, 0.5, 0.0]
    """
    grams = [set(grams_of(response, n)) for response in responses]
    owners = Counter(gram for own in grams for gram in own)
    return np.array([sum(owners[gram] == 1 for gram in own) / len(own) if own else 0.0 for own in grams])


class Novelty:
    """A reward for texts that do not repeat the data: the share of runs of words that no text of the data has.

    Args:
        task: Task whose references, demonstrations and prompts are the data.
        n: Length in words of the runs that are compared.
        examples: Number of examples, from the first on, whose texts are looked at.

    Raises:
        ValueError: ``n`` or ``examples`` is below 1.
    """

    name = "novelty"

    def __init__(self, task: Task, n: int = 4, examples: int = 2000) -> None:
        if examples < 1:
            raise ValueError(f"expected at least 1 example to compare with, got {examples}")
        self._n = n
        self._known = frozenset(self._read(task, examples))

    def _read(self, task: Task, count: int) -> Iterable[Gram]:
        for place in range(min(count, len(task.dataset))):
            example = task.dataset[place]
            for text in (example.text, *example.references, *example.demonstrations):
                yield from grams_of(text, self._n)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score texts; one number each, in [0, 1], 0 for texts of fewer than ``n`` words."""
        grams = [grams_of(response, self._n) for response in responses]
        return np.array([sum(gram not in self._known for gram in own) / len(own) if own else 0.0 for own in grams])


def grams_of(text: str, n: int) -> list[Gram]:
    """Return the runs of ``n`` words of a text, in order.

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"expected runs of at least 1 word, got n={n}")
    words = words_of(text)
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
