"""Ranks that take turns in one process: their random numbers, their errors, and whose turn it is."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from textgym.agents.common.distributed import Communicator, current
from textgym.agents.common.lock_step import in_lock_step
from textgym.errors import RankLostError


def draw() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_every_rank_draws_its_own_numbers_whatever_the_others_do() -> None:
    def work(ranks: Communicator) -> list[list[float]]:
        random.seed(ranks.rank)
        np.random.seed(ranks.rank)
        torch.manual_seed(ranks.rank)
        found = []
        for _ in range(3):
            found.append(draw())
            ranks.barrier()
        return found

    torch.manual_seed(7)
    before = torch.get_rng_state()
    together = in_lock_step(3, work)
    assert torch.equal(torch.get_rng_state(), before)  # of the caller
    for rank in range(3):
        random.seed(rank)
        np.random.seed(rank)
        torch.manual_seed(rank)
        assert together[rank] == [draw() for _ in range(3)]


def test_one_rank_works_at_a_time() -> None:
    order: list[tuple[int, int]] = []

    def work(ranks: Communicator) -> None:
        assert current() is ranks
        for number in range(3):
            order.append((number, ranks.rank))
            ranks.barrier()

    in_lock_step(2, work)
    assert order == [(number, rank) for number in range(3) for rank in range(2)]


def test_the_reason_is_raised_and_not_what_it_did_to_others() -> None:
    reached = []

    def work(ranks: Communicator) -> None:
        ranks.barrier()
        if ranks.rank == 2:
            raise ValueError("this rank has a reason")
        try:
            ranks.barrier()
        except RankLostError as error:
            reached.append(str(error))
            raise

    with pytest.raises(ValueError, match="this rank has a reason"):
        in_lock_step(3, work)
    assert reached == ["expected 3 ranks, got 2: another one has ended before"] * 2


def test_a_rank_that_returns_early_is_missed() -> None:
    with pytest.raises(RankLostError, match="got 1: another one has ended"):
        in_lock_step(2, lambda ranks: ranks.barrier() if ranks.rank else None)
