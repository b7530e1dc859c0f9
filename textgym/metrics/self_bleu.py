"""Self-BLEU: how much the texts of a batch, or the answers to one prompt, resemble each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from textgym.metrics.words import words_of
from textgym.types import Example, FloatArray

_Grams = list[Counter[tuple[str, ...]]]


def self_bleu(
    prompts: Sequence[str],
    responses: Sequence[str],
    examples: Sequence[Example],
    *,
    n: int = 4,
    within: str = "batch",
) -> FloatArray:
    """BLEU of each response with the others as its references: high where texts are alike.

    The texts that are scored in one call are compared: all of an evaluation, or those that end in one step of parallel
    environments. Each n-gram counts as often as in the other text that has it most often, texts of fewer than ``n``
    words are measured by the lengths they have, and a length without a match counts half of what the one before did.

    Args:
        prompts: ``n`` prompt texts.
        responses: ``n`` texts.
        examples: The ``n`` examples they answer.
        n: Longest runs of words.
        within: ``"batch"`` compares each text with all others, ``"prompt"`` with those about the same example only.

    Returns:
        Self-BLEU in ``[0, 1]``, shape ``(n,)``; lower is more diverse. 0 where there is no other text, or no word.

    Raises:
        ValueError: ``n`` is below 1, or ``within`` is another word.

    References:
        Zhu et al., "Texygen: a benchmarking platform for text generation models" (2018).
    """
    if n < 1:
        raise ValueError(f"expected runs of at least 1 word, got n={n}")
    if within not in ("batch", "prompt"):
        raise ValueError(f"expected within='batch' or 'prompt', got {within!r}")
    groups: dict[Hashable, list[int]] = {}
    for row, (prompt, example) in enumerate(zip(prompts, examples, strict=True)):
        groups.setdefault("" if within == "batch" else (example.key, prompt), []).append(row)
    scores = np.zeros(len(responses))
    words = [words_of(response) for response in responses]
    for rows in groups.values():
        scores[rows] = _among([words[row] for row in rows], n)
    return scores


def _among(texts: Sequence[Sequence[str]], n: int) -> list[float]:
    """Return the BLEU of each text with the others as references."""
    if len(texts) < 2:
        return [0.0] * len(texts)
    grams = [[_grams(words, size) for size in range(1, n + 1)] for words in texts]
    most = [_two_most([own[size] for own in grams]) for size in range(n)]
    lengths = sorted(map(len, texts))
    pairs = zip(grams, texts, strict=True)
    return [_bleu(own, most, _closest(lengths, len(words))) if words else 0.0 for own, words in pairs]


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _two_most(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """Return how often the two texts that have a run most often have it: the second counts for the first itself."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for own in counts:
        for gram, count in own.items():
            first, second = found.get(gram, (0, 0))
            found[gram] = (count, first) if count > first else (first, max(second, count))
    return found


def _closest(lengths: Sequence[int], own: int) -> int:
    """Return the length of another text that is closest, the shorter one of two."""
    place = int(np.searchsorted(lengths, own))
    others = [*lengths[max(0, place - 1) : place], *lengths[place + 1 : place + 2]]
    return min(others, key=lambda length: (abs(length - own), length))


def _bleu(own: _Grams, most: Sequence[dict[tuple[str, ...], tuple[int, int]]], reference_length: int) -> float:
    logs, halvings, length = [], 0, own[0].total()
    for counts, others in zip(own, most, strict=True):
        total = counts.total()
        if not total:
            break
        matched = sum(min(count, _of_others(count, others[gram])) for gram, count in counts.items())
        halvings += not matched
        logs.append(math.log(matched / total if matched else 1 / (2**halvings * total)))
    brevity = min(0.0, 1 - reference_length / length)
    no_word = halvings == len(logs)  # else smoothing would give texts without a word in common a number
    return 0.0 if no_word else math.exp(brevity + sum(logs) / len(logs))


def _of_others(own: int, most: tuple[int, int]) -> int:
    """Return the most that another text has, given the two most of all: the first one may be this text's own."""
    first, second = most
    return second if own == first else first
