"""Pass@k: known values, the definition by counting, and the metric on episodes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from textgym.metrics.pass_at_k import PassAtK, pass_at_k
from textgym.types import Episode, Example


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [
        (10, 3, 1, 0.3),
        (10, 3, 5, 0.9166666666666666),
        (200, 13, 100, 0.9999194971988055),
        (5, 0, 3, 0.0),
        (5, 5, 3, 1.0),
    ],
)
def test_known_values(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-12)


def test_it_is_the_share_of_draws_with_a_right_program() -> None:
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            draws = list(itertools.combinations(range(n), k))
            hits = sum(any(each < c for each in draw) for draw in draws)
            assert pass_at_k(n, c, k) == pytest.approx(hits / len(draws), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="k tries need k programs"):
        pass_at_k(n, c, k)


def test_episodes_are_grouped_by_example() -> None:
    double = Example("a", "Double it.", extra={"entry_point": "f", "tests": [[[1], 2], [[3], 6]]})
    square = Example("b", "Square it.", extra={"entry_point": "f", "tests": [[[3], 9]]})
    untested = Example("c", "Say hello.")
    texts = [
        *((double, "def f(n): return 2 * n"), (square, "def f(n): return n * n"), (double, "def f(n): return n + 1")),
        *((double, "def f(n): return n + n"), (untested, "hello"), (double, "no idea")),
    ]
    episodes = [Episode.of(example, text) for example, text in texts]
    np.testing.assert_allclose(PassAtK(1)(episodes), [0.5, 1.0, 0.5, 0.5, math.nan, 0.5])
    np.testing.assert_allclose(PassAtK(2)(episodes), [5 / 6, math.nan, 5 / 6, 5 / 6, math.nan, 5 / 6])
    assert PassAtK()([]).shape == (0,)
    with pytest.raises(ValueError, match="at least 1"):
        PassAtK(0)
