"""Offline agents say how many texts they learn from, and how many tokens a step reads."""

from __future__ import annotations

import pytest

from textgym.agents.common.pair_counts import CountsPairs
from textgym.agents.common.token_pairs import TokenPair
from textgym.agents.facts import Offline
from textgym.agents.sft import SFT


class Agent(CountsPairs):
    def __init__(self, lengths: list[int], batch_size: int) -> None:
        self.pairs = [TokenPair([1, 2, 3], [4] * length) for length in lengths]
        self.batch_size = batch_size


@pytest.mark.parametrize(
    ("lengths", "batch_size", "tokens"),
    [([2, 4], 2, 6.0), ([2, 4, 6], 2, 12 / 2), ([2], 8, 2.0), ([], 8, 0.0)],  # three pairs in batches of two: two steps
)
def test_tokens_of_responses_are_counted(lengths: list[int], batch_size: int, tokens: float) -> None:
    agent = Agent(lengths, batch_size)
    assert (agent.labels, agent.tokens_per_step()) == (len(lengths), tokens)


def test_supervised_training_counts_so() -> None:
    assert issubclass(SFT, CountsPairs)
    assert {"labels", "tokens_per_step"} <= set(dir(Offline))
