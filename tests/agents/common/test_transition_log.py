"""Logged transitions as rows of a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgym.agents.common.logged_texts import LoggedTurn
from textgym.agents.common.q_table import QTable, state_of
from textgym.agents.common.transition_log import log_transitions, read_transitions

EPISODES = [
    (LoggedTurn([5, 6], [2, 3], 1.0),),
    (LoggedTurn([5, 6], [2, 4], 0.0),),
    (LoggedTurn([7], [1], 0.5), LoggedTurn([7, 1, 8], [2], 0.25)),
]


def test_every_token_is_a_transition() -> None:
    table = QTable(9)
    log = log_transitions(EPISODES, table)
    states = [[5, 6], [5, 6, 2], [5, 6], [5, 6, 2], [7], [7, 1, 8]]
    assert log.rows.tolist() == [table.states[state_of(ids)] for ids in states]
    assert len(table) == 4
    assert log.actions.tolist() == [2, 3, 2, 4, 1, 2]
    assert log.rewards.tolist() == [0.0, 1.0, 0.0, 0.0, 0.5, 0.25]
    behind = table.states[state_of([5, 6, 2])]
    assert log.following.tolist() == [behind, -1, behind, -1, table.states[state_of([7, 1, 8])], -1]


def test_tokens_that_nobody_tried_are_no_choice() -> None:
    table = QTable(9)
    log_transitions(EPISODES, table)
    known = table.values_of([state_of([5, 6, 2]), state_of([7])])
    assert [np.flatnonzero(np.isfinite(row)).tolist() for row in known] == [[3, 4], [1]]


def test_transitions_survive_a_checkpoint() -> None:
    table = QTable(9)
    log = log_transitions(EPISODES, table)
    again = read_transitions(log.tensors(), table)
    assert again is not None
    assert all((ours == theirs).all() for ours, theirs in zip(log, again, strict=True))
    assert read_transitions({}, table) is None
    for change in ({"rows": torch.full((6,), 4)}, {"actions": torch.full((6,), 9)}, {"following": torch.zeros(2)}):
        with pytest.raises(ValueError, match="expected logged transitions of the table"):
            read_transitions({**log.tensors(), **change}, table)
