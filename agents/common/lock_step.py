"""Several ranks in one process, which take turns: what they compute is what as many processes would."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import copy_context
from threading import Condition, Thread
from typing import Any, TypeVar

from torch import Tensor

from textgym.agents.common.distributed import Communicator, using
from textgym.agents.common.random_states import RandomStates
from textgym.errors import RankLostError

_T = TypeVar("_T")


def in_lock_step(size: int, work: Callable[[Communicator], _T]) -> list[_T]:
    """Run ``work`` as ``size`` ranks, each in a thread; one at a time, until it waits for the others.

    Each rank has global random generators of its own, which begin where those of the caller stand, as they would in
    processes that were started alike. The caller's are left as they are.

    Args:
        size: Number of ranks.
        work: Called with the connection of each rank, which is also the
            :func:`~textgym.agents.common.distributed.current` one.

    Returns:
        What it returned, by rank.

    Raises:
        Exception: That of the first rank that failed for a reason of its own.
    """
    before, table = RandomStates.read(), _Table(size)
    runs = [_Run(table, rank, work) for rank in range(size)]
    try:
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    finally:
        before.restore()
    errors = [run.error for run in runs if run.error is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, RankLostError)):
        raise error
    return [run.result for run in runs]


class _Table:
    """The turn, and what was laid down in every round of communication."""

    def __init__(self, size: int) -> None:
        self.size, self.turn = size, 0
        self.changed = Condition()
        self.rounds: dict[int, dict[int, Any]] = {}
        self.states = [RandomStates.read() for _ in range(size)]
        self.is_running = [True] * size

    def pass_on(self, rank: int) -> None:
        """Let the next rank that is running go on."""
        self.states[rank] = RandomStates.read()
        following = [(rank + step) % self.size for step in range(1, self.size + 1)]
        self.turn = next((each for each in following if self.is_running[each]), -1)
        self.changed.notify_all()

    def wait_for_turn(self, rank: int) -> None:
        """Wait, and go on with the rank's own random numbers."""
        self.changed.wait_for(lambda: self.turn == rank)
        self.states[rank].restore()


class _LockStep(Communicator):
    """The connection of one of the ranks."""

    def __init__(self, table: _Table, rank: int) -> None:
        self.rank, self.size, self._table, self._round = rank, table.size, table, 0

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, in their order."""
        found = self._meet(tensor.detach().clone())
        self.bytes_sent += tensor.nbytes * (self.size - 1)
        return [found[rank].clone() for rank in range(self.size)]

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Return the tensor of rank ``source``."""
        found: Tensor = self._meet(tensor.detach().clone())[source]
        self.bytes_sent += tensor.nbytes * (self.size - 1) * (self.rank == source)
        return found.clone()

    def exchange(self, tensor: Tensor, others: Collection[int]) -> dict[int, Tensor]:
        """Send a tensor to some ranks, and return what each of these sends."""
        found = self._meet(tensor.detach().clone())
        self.bytes_sent += tensor.nbytes * len(others)
        return {other: found[other].clone() for other in sorted(others)}

    def _meet(self, item: Tensor) -> dict[int, Any]:
        """Lay something down, and wait until all have."""
        table = self._table
        with table.changed:
            laid = table.rounds.setdefault(self._round, {})
            laid[self.rank] = item
            table.rounds.pop(self._round - 2, None)  # which all have read who laid something down in the one after it
            self._round += 1
            table.pass_on(self.rank)
            table.wait_for_turn(self.rank)
            if len(laid) < self.size:
                raise RankLostError(f"expected {self.size} ranks, got {len(laid)}: another one has ended before")
        return laid


class _Run(Thread):
    """A rank at work."""

    result: Any = None
    error: BaseException | None = None

    def __init__(self, table: _Table, rank: int, work: Callable[[Communicator], object]) -> None:
        super().__init__(name=f"rank {rank}", daemon=True)
        self._table, self._ranks, self._work, self._context = table, _LockStep(table, rank), work, copy_context()

    def run(self) -> None:
        """Work in turns, and let the others go on at the end."""
        table, rank = self._table, self._ranks.rank
        with table.changed:
            table.wait_for_turn(rank)
        try:
            self.result = self._context.run(self._together)
        except BaseException as error:
            self.error = error
        with table.changed:
            table.is_running[rank] = False
            table.pass_on(rank)

    def _together(self) -> object:
        with using(self._ranks):
            return self._work(self._ranks)
