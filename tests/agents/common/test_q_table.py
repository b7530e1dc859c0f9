"""A table of action values: rows, updates, and its state at an earlier moment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgym.agents.common.q_table import QTable, state_of, states_of

NO = -np.inf


@pytest.fixture
def table() -> QTable:
    table = QTable(3, initial=0.5)
    table.see([state_of([1]), state_of([2])], np.array([[True, True, False], [True, True, True]]))
    return table


def test_a_state_is_the_ids_of_the_text_so_far() -> None:
    observed = {
        "input_ids": np.array([[5, 6, 0], [5, 6, 7], [5, 6, 0]]),
        "attention_mask": np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]]),
    }
    first, longer, padded = states_of(observed)
    assert first == state_of([5, 6])
    assert len({first, longer, padded}) == 3  # a pad that was written is a token


def test_values_move_towards_their_targets(table: QTable) -> None:
    assert table.see([state_of([2]), state_of([1]), state_of([2])], np.ones((3, 3), dtype=np.bool_)).tolist() == [
        1,
        0,
        1,
    ]
    table.update(0, 1, 2.5, 0.5)  # 0.5 + 0.5 * (2.5 - 0.5)
    table.update(0, 1, 1.5, 1.0)
    np.testing.assert_allclose(table.values(np.array([0, 1])), [[0.5, 1.5, NO], [0.5, 0.5, 0.5]])
    assert (table.visits(0, 1), table.visits(1, 1)) == (2, 0)


def test_of_an_unseen_state_nothing_is_known() -> None:
    table = QTable(3, initial=0.5)
    np.testing.assert_allclose(table.values_of([state_of([9])]), [[0.5, 0.5, 0.5]])
    table.see([state_of([1])], np.array([[True, True, False]]))
    np.testing.assert_allclose(table.values_of([state_of([9]), state_of([1])]), [[0.5, 0.5, NO]] * 2)


def test_tensors_are_those_of_the_moment_that_was_remembered(table: QTable) -> None:
    table.update(0, 0, 1.0, 1.0)
    table.remember()
    before = table.tensors()
    table.update(0, 0, 9.0, 1.0)
    table.update(0, 0, 8.0, 1.0)
    table.update(int(table.see([state_of([3])], np.ones((1, 3), dtype=np.bool_))[0]), 2, 9.0, 1.0)
    after = table.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert before["values"].tolist() == [[1.0, 0.5, 0.5], [0.5, 0.5, 0.5]]
    assert table.values(np.array([0]))[0, 0] == 8.0


def test_a_table_goes_on_from_tensors() -> None:
    table = QTable(2)
    for number in range(200):  # grows
        table.see([state_of([number, 7][: 1 + number % 2])], np.array([[True, number % 3 > 0]]))
        table.update(number % len(table), number % 2, number, 0.5)
    table.remember()
    again = QTable(2)
    again.set_tensors(table.tensors())
    assert again.states == table.states
    rows = np.arange(len(table))
    np.testing.assert_array_equal(again.values(rows), table.values(rows))
    assert all(
        torch.equal(left, right) for left, right in zip(table.tensors().values(), again.tensors().values(), strict=True)
    )
    empty = QTable(2)
    empty.set_tensors(QTable(2).tensors())
    assert len(empty) == 0
    with pytest.raises(ValueError, match=r"expected a table of .* states and 5 actions"):
        QTable(5).set_tensors(table.tensors())


def test_too_many_states_are_an_error_that_says_what_to_do() -> None:
    table = QTable(3, most_entries=7)
    legal = np.ones((1, 3), dtype=np.bool_)
    table.see([state_of([1])], legal)
    table.see([state_of([2])], legal)
    table.see([state_of([1])], legal)
    with pytest.raises(ValueError, match=r"expected a task of at most 2 texts to tell apart.*such as dqn"):
        table.see([state_of([3])], legal)
