"""The core of agents that learn from fixed data by optimizer steps: batches, schedule, records, exact resume."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from torch import Tensor

from textgym.agents.common.fine_tuning import FineTuningAgent
from textgym.agents.facts import AgentFacts, Processes
from textgym.checks import check_ranges
from textgym.errors import DataError
from textgym.models.stored_values import Check, number, positive
from textgym.models.text_model import TextModel
from textgym.text.batching import length_batches

_Item = TypeVar("_Item")

_TRIALS = 3
_POOL = 64  # batches whose items are sorted by size together, so that little padding is computed


class OfflineAgent(FineTuningAgent):
    """The core of agents that learn from fixed data: texts, preferences, logged episodes.

    A time step is an optimizer step on a batch of items of similar size, in random order; AdamW with linear warm-up
    and cosine decay. Of a batch, each of several processes reads a part. The core knows of an item only how large it
    is. A subclass has them, and says what a step minimizes, :meth:`loss`, and how long the responses in them are,
    :meth:`response_tokens`. A loss that draws random numbers says in :meth:`redraw` how they are drawn again.

    Args:
        model: Trained in place.
        sizes: Tokens that are read for each item.
        batch_size: Items per optimizer step.
        learning_rate: Peak learning rate.
        warmup: Warm-up: share of the steps with rising learning rate.
        max_grad_norm: Maximum gradient norm (clipping).
        log_every: Steps between log records.
        seed: Order of the items.

    Attributes:
        sizes: Tokens that are read for each item.
        num_timesteps: Steps made so far.
        losses: Losses of these steps.
        history: One record per iteration: mean loss, statistics, learning rate, steps.
        seconds: Time of the last iteration: update.

    Raises:
        ModelError: All weights are frozen.
        TypeError: An option is no number, or not a whole one.
        ValueError: An option, also one that a subclass has set before, is out of the range that :attr:`facts` says.
    """

    processes: ClassVar[Processes] = "data"
    settings: ClassVar[Mapping[str, Check]] = {
        "batch_size": positive,
        "warmup": number,
        "log_every": positive,
        **FineTuningAgent.settings,
    }
    wanted: ClassVar[str] = "data to learn from"
    """Description of the items, for messages."""
    facts: ClassVar[AgentFacts] = AgentFacts()

    def __init__(
        self,
        model: TextModel,
        sizes: Sequence[int],
        *,
        batch_size: int,
        learning_rate: float,
        warmup: float,
        max_grad_norm: float,
        log_every: int,
        seed: int,
    ) -> None:
        self.batch_size, self.warmup, self.log_every = batch_size, warmup, log_every
        limits = {name: limits for name, limits in self.facts.limits.items() if name in self.settings}
        check_ranges({"learning_rate": learning_rate, **vars(self)}, limits, counts=("batch_size", "log_every"))
        super().__init__(model, learning_rate=learning_rate, max_grad_norm=max_grad_norm, seed=seed)
        self.sizes = sizes
        self.begin(1)

    @abstractmethod
    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what a step minimizes, a scalar with a gradient, and scalars to log.

        Args:
            rows: Numbers of the items in the batch.
            rng: Source of what is drawn.
        """

    @abstractmethod
    def response_tokens(self) -> int:
        """Return the number of tokens of the responses of all items; prompts do not count."""

    @property
    def labels(self) -> int:
        """Number of items."""
        return len(self.sizes)

    def tokens_per_step(self) -> float:
        """Return the mean number of tokens of the responses in a batch: those of all items over the steps of a pass."""
        return self.response_tokens() / max(1, math.ceil(len(self.sizes) / self.batch_size))

    def redraw(self, rows: Sequence[int], rng: np.random.Generator) -> None:
        """Draw what :meth:`loss` draws for a batch, and nothing else: training goes on behind steps that were made."""

    def begin(self, steps: int) -> None:
        """Begin a training of so many optimizer steps; the weights stay as they are."""
        super().begin(steps)
        self._rng = np.random.default_rng(self.seed)
        self._batches = endless_batches(self.sizes, self.batch_size, self._rng)

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make ``total_timesteps`` optimizer steps.

        Args:
            total_timesteps: How many; ``reset_num_timesteps=False`` makes them after those that were made.
            callback: Called when an iteration of ``log_every`` steps starts and ends, and after each step, where it can
                end training.
            reset_num_timesteps: Begin a new training, of these weights.

        Raises:
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1.
            FloatingPointError: If a loss or a gradient is not finite; the weights are those of the step before.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        if reset_num_timesteps:
            self.begin(total_timesteps)
        self._steps = self.num_timesteps + total_timesteps
        for network in self.modules().values():
            self.ranks.broadcast_parameters(network.parameters())
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < self._steps:
            going_on = self._iterate(watcher)
        watcher.on_training_end()
        return self

    def _iterate(self, watcher: BaseCallback) -> bool:
        """Make the steps up to the next record; false if the callback ends training."""
        watcher.on_rollout_start()
        start, going_on = time.perf_counter(), True
        while going_on:
            self.advance()
            watcher.update_locals(locals())
            going_on = watcher.on_step()
            if self.num_timesteps % self.log_every == 0 or self.num_timesteps == self._steps:
                break
        self.seconds = {"update": time.perf_counter() - start}
        watcher.on_rollout_end()
        if going_on:
            logged = int(self.history[-1]["timesteps"]) if self.history else 0
            self.record({"loss": float(np.mean(self.losses[logged:]))})
        return going_on

    def advance(self) -> float:
        """Make one optimizer step.

        Returns:
            Loss of the step.

        Raises:
            DataError: There is nothing to learn from.
            FloatingPointError: If the loss or a gradient is not finite; the weights stay as they are.
        """
        self._require_items()
        rate_share = warmup_cosine(self.num_timesteps, self._steps, self.warmup)
        rows = next(self._batches)
        if self.ranks.size == 1:
            return self.step(*self.loss(rows, self._rng), rate_share=rate_share)
        # All processes draw the same batches, of which each reads a part, with numbers of its own where it draws some.
        self.redraw(rows, self._rng)
        parts = [rows[rank :: self.ranks.size] for rank in range(self.ranks.size)]
        sizes = [self.size(part) if part else 0 for part in parts]
        rng = np.random.default_rng((self.seed, self.num_timesteps, self.ranks.rank))
        own, share = parts[self.ranks.rank] or rows[:1], sizes[self.ranks.rank] / sum(sizes)
        return self.step(*self.loss(own, rng), rate_share=rate_share, share=share)

    def size(self, rows: Sequence[int]) -> int:
        """Return the weight of a part of a batch: the number of things that :meth:`loss` is a mean over."""
        return len(rows)

    def after_step(self) -> None:
        """Count the step."""
        self.num_timesteps += 1

    def _require_items(self) -> None:
        if not self.sizes:
            raise DataError(f"expected {self.wanted}, got none; make the agent with an environment")

    @property
    def steps_per_iteration(self) -> int:
        """Optimizer steps between two records."""
        return self.log_every

    def seconds_per_step(self) -> float:
        """Seconds of a forward and backward pass, by trying; no weight changes."""
        self._require_items()
        rng = np.random.default_rng(self.seed)
        times = []
        for _ in range(_TRIALS):
            rows = rng.integers(len(self.sizes), size=min(self.batch_size, len(self.sizes))).tolist()
            start = time.perf_counter()
            self.loss(rows, rng)[0].backward()
            times.append(time.perf_counter() - start)
        for parameter in self._parameters:
            parameter.grad = None
        return min(times)

    def _write_state(self, tensors: Mapping[str, Tensor], record: Mapping[str, object], folder: Path) -> None:
        super()._write_state(tensors, record, folder)
        self.num_timesteps = len(self.losses)
        for _ in self.losses if self.sizes else ():  # the generator draws what it drew for the steps that were made
            self.redraw(next(self._batches), self._rng)


def draw_some(items: Sequence[_Item], most: int | None, seed: int) -> list[_Item]:
    """Draw items at random, in the order that they have; all of them where they are not more.

    Args:
        items: The items.
        most: How many; ``None`` for all.
        seed: Seed of the choice.
    """
    if most is None or len(items) <= most:
        return list(items)
    drawn = np.random.default_rng(seed).choice(len(items), most, replace=False)
    return [items[place] for place in sorted(drawn.tolist())]


def endless_batches(sizes: Sequence[int], batch_size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless batches of items of similar size, as their numbers, in random order; each item once per pass.

    Args:
        sizes: Tokens of each item.
        batch_size: Most items of a batch.
        rng: Source of the order.
    """
    while True:
        order = rng.permutation(len(sizes))
        for pool in np.array_split(order, math.ceil(len(order) / (_POOL * batch_size))):
            lengths = [sizes[i] for i in pool]
            batches = length_batches(lengths, max_rows=batch_size, longest_first=False, even=True)
            for k in rng.permutation(len(batches)):
                yield [int(pool[i]) for i in batches[k]]


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: it rises for a share of the steps, then falls as a cosine to 0."""
    rising = max(1, int(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
