"""Communication of processes that train together.

All ranks run the same program and make the same calls of a :class:`Communicator` in the same order. Sums are gathered
and added up in the order of ranks, so that they are the same on all ranks and in every run: the sum of an all-reduce
depends on how the library cuts it up.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from textgym.errors import RankLostError
from textgym.naming import argument

_BUCKET = 2**24
"""Elements that are added up at once: of every rank, so many are in memory."""
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
_PATIENCE = timedelta(hours=6)
"""Others wait while the first rank evaluates. A process that died is noticed at once, by its closed connection."""


class Gathered(NamedTuple):
    """Rows of all ranks in their order, (N, ...), and which of them are this rank's."""

    rows: Tensor
    own: slice


class Communicator(ABC):
    """The connection of a rank with the others.

    Attributes:
        rank: Number of this rank, from 0.
        size: Number of ranks.
        bytes_sent: Bytes that this rank has sent to others.
        has_left: Whether it tells the others nothing any more.
    """

    rank: int = 0
    size: int = 1
    bytes_sent: int = 0
    has_left: bool = False

    @abstractmethod
    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, in their order; all have the same shape and type.

        Raises:
            RankLostError: Another rank has ended.
        """

    @abstractmethod
    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Return the tensor of rank ``source``, of the shape and type of ``tensor``."""

    @abstractmethod
    def exchange(self, tensor: Tensor, others: Collection[int]) -> dict[int, Tensor]:
        """Send a tensor to some ranks, and return what each of these sends, of the same shape and type."""

    def all_gather_json(self, value: Any) -> list[Any]:
        """Return the JSON values of all ranks, in their order."""
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [int(size) for size in self.all_gather(torch.tensor([len(content)]))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = content
        found = zip(self.all_gather(padded), sizes, strict=True)
        return [json.loads(each[:size].numpy().tobytes()) for each, size in found]

    def all_gather_tensors(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the named tensors of all ranks, in their order; each rank may have others."""
        own = {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()}
        return [
            {
                name: self.broadcast(
                    tensors[name] if rank == self.rank else torch.empty(shape, dtype=_DTYPES[dtype]), rank
                )
                for name, (dtype, shape) in described.items()
            }
            for rank, described in enumerate(self.all_gather_json(own))
        ]

    def concatenate(self, rows: Tensor) -> Gathered:
        """Join the rows (n, ...) of all ranks, each of which may have another number of them."""
        sizes = [int(size) for size in self.all_gather(torch.tensor([len(rows)]))]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        joined = [each[:size] for each, size in zip(self.all_gather(padded), sizes, strict=True)]
        start = sum(sizes[: self.rank])
        return Gathered(torch.cat(joined), slice(start, start + len(rows)))

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all ranks, in their order."""
        first, *others = self.all_gather(tensor)
        total = first.clone()
        for other in others:
            total += other
        return total

    def any(self, flag: bool) -> bool:
        """Return whether it is true on some rank."""
        return bool(self.sum(torch.tensor([int(flag)])))

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def leave(self) -> None:
        """Tell the others nothing any more: between processes, every call raises ``RankLostError`` from now on."""
        self.has_left = True

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over ranks, which have computed those of the same parameters."""
        for bucket in _buckets([each.grad for each in parameters if each.grad is not None]):
            total = self.sum(torch.cat([gradient.flatten() for gradient in bucket]))
            for gradient, part in zip(bucket, total.split([each.numel() for each in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def broadcast_parameters(self, parameters: Iterable[Tensor]) -> None:
        """Let all ranks have the parameters of the first one, as far as they are trained."""
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.copy_(self.broadcast(parameter.detach().clone()))


class Alone(Communicator):
    """One rank, which has nobody to tell anything: what is gathered is its own, and costs nothing."""

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensor."""
        return [tensor]

    def all_gather_json(self, value: Any) -> list[Any]:
        """Return the value."""
        return [value]

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Return the tensor."""
        return tensor

    def exchange(self, tensor: Tensor, others: Collection[int]) -> dict[int, Tensor]:
        """Return nothing: there is nobody."""
        return {}

    def concatenate(self, rows: Tensor) -> Gathered:
        """Return the rows."""
        return Gathered(rows, slice(0, len(rows)))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the tensor."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Leave gradients as they are."""

    def broadcast_parameters(self, parameters: Iterable[Tensor]) -> None:
        """Leave parameters as they are."""


class ProcessGroup(Communicator):
    """Processes connected by ``torch.distributed``: gloo between CPUs, NCCL between GPUs.

    Raises:
        RankLostError: In every call, if another process has ended or cannot be reached.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._sends_from_gpu = "nccl" in str(dist.get_backend_config())

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, in their order."""
        own = self._to_send(tensor)
        found = [torch.empty_like(own) for _ in range(self.size)]
        self._try(lambda: dist.all_gather(found, own))
        self.bytes_sent += own.nbytes * (self.size - 1)
        return [each.to(tensor.device) for each in found]

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Return the tensor of rank ``source``."""
        sent = self._to_send(tensor).clone()
        self._try(lambda: dist.broadcast(sent, source))
        self.bytes_sent += sent.nbytes * (self.size - 1) * (self.rank == source)
        return sent.to(tensor.device)

    def exchange(self, tensor: Tensor, others: Collection[int]) -> dict[int, Tensor]:
        """Send a tensor to some ranks, and return what each of these sends."""
        own = self._to_send(tensor)
        found = {other: torch.empty_like(own) for other in sorted(others)}
        calls = [dist.P2POp(dist.isend, own, other) for other in found]
        calls += [dist.P2POp(dist.irecv, each, other) for other, each in found.items()]
        if calls:
            self._try(lambda: [work.wait() for work in dist.batch_isend_irecv(calls)])
        self.bytes_sent += own.nbytes * len(found)
        return {other: each.to(tensor.device) for other, each in found.items()}

    def _to_send(self, tensor: Tensor) -> Tensor:
        """Return a tensor where the backend can reach it."""
        tensor = tensor.detach().contiguous()
        return tensor if self._sends_from_gpu else tensor.cpu()

    def _try(self, call: Callable[[], object]) -> None:
        if self.has_left:
            raise RankLostError(f"expected {self.size} processes, got this one alone: it has left the others")
        try:
            call()
        except RuntimeError as error:
            raise RankLostError(
                f"expected {self.size} processes, got no answer of another one: it has ended, or cannot be reached; "
                f"its own message says why (rank {self.rank}: {str(error).splitlines()[0]:.120})"
            ) from error


_ALONE = Alone()
_CURRENT: ContextVar[Communicator] = ContextVar("communicator", default=_ALONE)


def current() -> Communicator:
    """Return the connection of this process with those that it trains together with; agents take it when they are made.

    Without :func:`processes` or :func:`using` around it, a process is alone.
    """
    return _CURRENT.get()


@contextmanager
def using(ranks: Communicator) -> Iterator[Communicator]:
    """Let agents that are made in the block be connected by ``ranks``."""
    token = _CURRENT.set(ranks)
    try:
        yield ranks
    finally:
        _CURRENT.reset(token)


@contextmanager
def alone() -> Iterator[Communicator]:
    """Let agents that are made in the block be alone, whatever this process belongs to."""
    with using(_ALONE) as ranks:
        yield ranks


@contextmanager
def processes() -> Iterator[Communicator]:
    """Connect, for the block, the processes that ``torchrun`` started; any other process is alone.

    Each of them uses the GPU with its local number, where there are as many.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield current()
        return
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if count:
        torch.cuda.set_device(local % count)
    has_own_gpu = 0 < int(os.environ["LOCAL_WORLD_SIZE"]) <= count and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_own_gpu else "gloo", timeout=_PATIENCE)
    try:
        with using(ProcessGroup()) as ranks:
            yield ranks
    finally:
        dist.destroy_process_group()


def require_one_each(agents: int) -> None:
    """Check that the agents of a group are all in this process, or one in each of as many.

    Raises:
        ValueError: There are more processes, or fewer.
    """
    count = current().size
    if count not in (1, agents):
        raise ValueError(
            f"expected 1 or {agents} processes, one for each agent, got {count}; start as many, or change "
            f"{argument('agents')}"
        )


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield gradients of one type and device, in order, in lists of at most about so many elements."""
    for _, alike in groupby(gradients, lambda gradient: (gradient.dtype, gradient.device)):
        bucket: list[Tensor] = []
        for gradient in alike:
            if bucket and sum(each.numel() for each in bucket) + gradient.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(gradient)
        yield bucket
