"""The state of an agent with a table of action values, to and from a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.history import KeepsHistory
from textgym.agents.common.q_table import QTable, states_of
from textgym.agents.common.vec_env import describe_vec_state, set_vec_state
from textgym.errors import CheckpointError
from textgym.models.checkpoint import read_checkpoint, write_checkpoint
from textgym.models.optimizer_state import part
from textgym.models.stored_values import (
    Check,
    check_fields,
    fields,
    from_json,
    integer,
    listed,
    mapped,
    measured,
    optional,
    plain,
    positive,
    text,
    to_json,
)
from textgym.types import BoolArray, IntArray, State

_RECORD: Mapping[str, Check] = {
    "kind": text,
    "actions": positive,
    "num_timesteps": integer,
    "steps": positive,
    "history": listed(mapped(optional(measured))),
    "environment": plain,
    "chosen": optional(listed(integer)),
    "written": optional(listed(integer)),
}
_OPTIONAL = ("environment", "chosen", "written")


class _Snapshot(NamedTuple):
    """The state at the beginning of an iteration, but for the table, which remembers its own.

    Attributes:
        rng: State of the random generator.
        record: The rest, with arrays.
        problems: Parts of the environment that cannot be restored, a sentence each.
    """

    rng: Tensor
    record: dict[str, Any]
    problems: list[str]


class ResumableTable(KeepsHistory):
    """An agent with a table of action values that is saved without pickle and goes on bit for bit.

    Class attributes:
        kind: Name of its checkpoints.
        settings: Constructor arguments that are stored in a checkpoint, each with its check.
    """

    kind: ClassVar[str]
    settings: ClassVar[Mapping[str, Check]]
    env: VecEnv | None
    table: QTable
    initial_value: float
    most_entries: int
    _generator: torch.Generator
    _steps: int  # of the training; what is left of them sets the schedules
    _rows: IntArray | None  # (n,) states of the table that the copies are in; none before the first
    _actions: IntArray  # (n,) their next tokens, which are chosen already
    _written: IntArray  # (n,) tokens of their texts so far
    _snapshot: _Snapshot | None  # of the beginning of the iteration that is under way

    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return further tensors of the state."""
        return {}

    def take_own(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`own_tensors` returned."""

    def get_state(self) -> State:
        """Return what :meth:`set_state` needs to go on bit for bit; in an iteration, the state at its beginning."""
        now = self._snapshot or self._take_snapshot()
        for problem in now.problems:
            warnings.warn(problem, stacklevel=2)
        table = {f"table.{name}": tensor for name, tensor in self.table.tensors().items()}
        own = {f"own.{name}": tensor for name, tensor in self.own_tensors().items()}
        return State({**table, **own, "rng": now.rng.clone()}, to_json(now.record))

    def set_state(self, state: State) -> None:
        """Go on, bit for bit, where :meth:`get_state` was called on an agent made with the same arguments.

        Raises:
            CheckpointError: It is of another kind of agent or environment.
        """
        self._check_record(state.record)
        self._write_state(state.tensors, state.record)

    def save(self, folder: str | Path) -> None:
        """Write the state to a folder of JSON and safetensors, replaced in one step."""
        write_checkpoint(Path(folder), *self.get_state())

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: str = "auto", **changes: Any) -> Self:
        """Load what :meth:`save` wrote. Nothing is unpickled.

        Args:
            folder: The folder.
            env: Environment to continue in, made with the same arguments; without one it can act, but not learn.
            device: Not used.
            changes: Constructor arguments to change.

        Raises:
            CheckpointError: The folder is damaged or holds something else.
        """
        tensors, record = read_checkpoint(Path(folder), cls.kind)
        cls._check_record(record)
        agent = cls(env if isinstance(env, VecEnv) else None, **{**record["settings"], **changes})
        agent._write_state(tensors, record)
        return agent

    def _take_snapshot(self) -> _Snapshot:
        self.table.remember()
        own = vars(self)
        record: dict[str, Any] = {
            "kind": self.kind,
            "settings": {name: own[name] for name in self.settings},
            "actions": self.table.actions,
            "num_timesteps": self.num_timesteps,
            "steps": self._steps,
            "history": list(self.history),
        }
        problems: list[str] = []
        if self._rows is not None and self.env is not None:
            record["environment"], problems = describe_vec_state(self.env)
            record["chosen"], record["written"] = self._actions.tolist(), self._written.tolist()
        return _Snapshot(self._generator.get_state(), record, problems)

    def _write_state(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        if self.env is not None and self.env.action_space.n != record["actions"]:
            raise CheckpointError(
                f"expected an environment of {record['actions']:,} tokens, as that of the checkpoint, got "
                f"{self.env.action_space.n:,}; make it with the same model"
            )
        self.table = QTable(record["actions"], self.initial_value, self.most_entries)
        try:
            self.table.set_tensors(part(tensors, "table."))
            self.take_own(part(tensors, "own."))
            self._generator.set_state(tensors["rng"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"expected the table of an agent in a checkpoint, got another: {error}") from error
        self.num_timesteps, self._steps, self.history = record["num_timesteps"], record["steps"], [*record["history"]]
        self._rows, self._snapshot = None, None
        if self.env is not None and "environment" in record:
            self._restore_texts(self.env, record)

    def _restore_texts(self, env: VecEnv, record: Mapping[str, Any]) -> None:
        if len(record["chosen"]) != env.num_envs:
            raise CheckpointError(
                f"expected {len(record['chosen'])} environments, got {env.num_envs}; make as many as before"
            )
        observations = set_vec_state(env, from_json(record["environment"]))
        if observations is not None:
            self._rows = self.table.see(states_of(observations), self._legal(env))
            self._actions = np.array(record["chosen"], dtype=np.int64)
            self._written = np.array(record["written"], dtype=np.int64)

    @classmethod
    def _check_record(cls, record: Mapping[str, Any]) -> None:
        check_fields(
            {**dict.fromkeys(_OPTIONAL), **record}, {**_RECORD, "settings": fields(cls.settings)}, "parts of a table"
        )

    def _legal(self, env: VecEnv) -> BoolArray:
        """The tokens (n, A) that may be written next."""
        try:
            return np.stack(env.env_method("action_masks"))
        except AttributeError:  # an environment of somebody else
            return np.ones((env.num_envs, self.table.actions), dtype=np.bool_)
