"""Batches of rows of similar length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.text.batching import length_batches

LENGTHS = st.lists(st.integers(1, 99), max_size=50)


def test_known_batches() -> None:
    assert length_batches([3, 9, 4, 2], 9) == [[1], [2, 0], [3]]
    assert length_batches([3, 9, 4, 2], 9, longest_first=False) == [
        [
            3,
            0,
        ],
        [2],
        [1],
    ]
    assert length_batches([3, 9, 4, 2], max_rows=3) == [[1, 2, 0], [3]]
    assert length_batches([5, 5, 5], 100, 2, longest_first=False) == [[0, 1], [2]]
    assert length_batches([], 9) == []


@given(LENGTHS, st.integers(1, 300), st.booleans())
def test_token_batches_respect_their_budget(lengths: list[int], tokens: int, longest_first: bool) -> None:
    batches = length_batches(lengths, tokens, longest_first=longest_first)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= tokens for batch in batches)


@given(LENGTHS, st.integers(1, 9))
def test_even_batches_are_those_of_numpy(lengths: list[int], rows: int) -> None:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    expected = np.array_split(np.array(order), -(-len(order) // rows)) if order else []
    batches = length_batches(lengths, max_rows=rows, longest_first=False, even=True)
    assert batches == [part.tolist() for part in expected]


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"max_rows": 0}, {"even": True}])
def test_wrong_limits_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected max_"):
        length_batches([1, 2], **wrong)  # type: ignore[arg-type]


def test_costs_count_instead_of_padded_lengths() -> None:
    lengths, costs = [9, 4, 7, 4, 20], [2, 3, 1, 1, 9]
    # by length: rows 1, 3, 2, 0, 4, which cost 3, 1, 1, 2, 9
    assert length_batches(lengths, max_tokens=5, longest_first=False, costs=costs) == [[1, 3, 2], [0], [4]]
    assert length_batches(lengths, max_tokens=5, max_rows=2, longest_first=False, costs=costs) == [[1, 3], [2, 0], [4]]
