"""Q-learning: a table of action values that learns the best policy from whatever it tries, or is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.logged_texts import encode_log
from textgym.agents.common.q_table import QTable
from textgym.agents.common.tabular import TableStep, TabularAgent
from textgym.agents.common.transition_log import TransitionLog, log_transitions, read_transitions
from textgym.agents.common.vec_env import env_attribute
from textgym.data.logs import LoggedEpisode, read_log
from textgym.errors import DataError
from textgym.text.tokenizer import Tokenizer
from textgym.types import FloatArray, IntArray, Task

Log = str | Path | Sequence[LoggedEpisode]
_AT_ONCE = 64  # logged transitions of one step, which have no environments to come from


class QLearning(TabularAgent):
    """Q-learning (Watkins and Dayan 1992, doi:10.1007/BF00992698) over texts.

    ``Q(s, a) <- Q(s, a) + alpha (r + gamma max_b Q(s', b) - Q(s, a))``: a value moves towards what the best next token
    is worth, whichever one exploration takes, so that it learns off-policy: from a log as well. Arguments are those of
    :class:`~textgym.agents.common.tabular.TabularAgent`.
    """

    kind: ClassVar[str] = "textgym.QLearning"
    _log: TransitionLog | None = None

    @classmethod
    def create(
        cls,
        env: Any,
        model: object = None,
        *,
        log: str | Path | Sequence[LoggedEpisode] | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make the agent of a token-level environment.

        Args:
            env: A vector environment to learn in, or a single one to act in.
            model: Not used: the tokens are those of the environment.
            log: Log to learn from, instead of the environment: a CSV, TSV, JSON Lines, JSON or Parquet file with the
                columns state, action and reward, or a run folder with episodes.
            seed: Random tokens of training.
            device: Not used: a table is in the memory of the processor.
            options: Arguments of the constructor.

        Raises:
            DataError: The log has nothing to learn from.
            TypeError: The constructor has no such option.
        """
        agent = super().create(env, model, seed=seed, device=device, **options)
        if log is not None:
            budgets = {name: env_attribute(env, name) for name in ("max_prompt_tokens", "max_new_tokens")}
            agent._take_log(log, env_attribute(env, "tokenizer"), env_attribute(env, "task"), budgets)
        return agent

    @classmethod
    def from_log(cls, log: Log, model: str | Path = "letters", *, seed: int = 0, **options: Any) -> Self:
        """Make an agent that learns from a log alone, whose states are prompts as they stand there.

        Args:
            log: A file, as for :meth:`create`, or what :func:`~textgym.data.logs.read_log` returns.
            model: Name of the model whose tokens the texts are made of.
            seed: Order of the transitions.
            options: Arguments of the constructor.

        Raises:
            DataError: The log has nothing to learn from.
        """
        agent, tokenizer = cls(None, seed=seed, **options), Tokenizer.load(model)
        agent.table = QTable(tokenizer.vocab_size, agent.initial_value, agent.most_entries)
        agent._take_log(log, tokenizer, None, {})
        return agent

    def _take_log(self, log: Log, tokenizer: Tokenizer, task: Task | None, budgets: Mapping[str, int]) -> None:
        found = read_log(log, None if task is None else task.dataset.find) if isinstance(log, str | Path) else log
        episodes = encode_log(found, tokenizer, task, **budgets)
        if not episodes:
            raise DataError(f"expected a log to learn from, got {len(found)} episodes whose actions are empty")
        self._log = log_transitions(episodes, self.table)

    def values_after(self, values: FloatArray, actions: IntArray, probabilities: FloatArray) -> FloatArray:
        """Return ``max_b Q(s', b)``, (n,)."""
        best: FloatArray = values.max(axis=1)
        return best

    # --------------------------------------------------------------- from a log
    @property
    def updates_per_step(self) -> int:
        """Values that are updated at once: one per environment, or of the log."""
        return super().updates_per_step if self._log is None else _AT_ONCE

    def begin_iteration(self) -> None:
        """Begin texts in the environments; of a log there are no texts."""
        if self._log is None:
            super().begin_iteration()

    def step(self) -> TableStep:
        """Move the values of some transitions: of the environments, or drawn from the log."""
        if self._log is None:
            return super().step()
        drawn = torch.randint(len(self._log.rows), (_AT_ONCE,), generator=self._generator).numpy()
        rows, actions, rewards, following = (array[drawn] for array in self._log)
        ended = following < 0
        # Where nothing follows, any row does: its value does not count.
        best = self.table.values(np.where(ended, 0, following)).max(axis=1)
        return self.move_all(rows, actions, rewards + self.gamma * np.where(ended, 0.0, best))

    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return the log, if there is one."""
        return {} if self._log is None else self._log.tensors()

    def take_own(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the log of a checkpoint."""
        self._log = read_transitions(tensors, self.table)
