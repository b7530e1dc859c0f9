"""Callbacks that send the records of any agent elsewhere while it learns: Weights & Biases, TensorBoard, a function.

They go to ``agent.learn(..., callback=...)``, several of them in a list. A record is what ``agent.history`` keeps of an
iteration; its numbers have the names there that they have in TensorBoard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure

from textgym.agents.common.history import log_record, tag_of
from textgym.metrics.references import import_extra
from textgym.values import attribute_of

__all__ = ["FunctionCallback", "RecordCallback", "TensorBoardCallback", "WandbCallback", "WandbRun"]


class RecordCallback(BaseCallback, ABC):
    """Hands on every new record of an agent's history, after the update that it is about."""

    model: Any  # any Trainable
    _read = 0

    @abstractmethod
    def send(self, record: Mapping[str, float]) -> None:
        """Send a record.

        Args:
            record: Numbers by name, with ``"timesteps"``, the time steps that were made at its end.
        """

    def _init_callback(self) -> None:
        self._read = len(self.model.history)

    def _on_rollout_start(self) -> None:
        self._send_new()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._send_new()

    def _send_new(self) -> None:
        history = self.model.history
        if len(history) < self._read:  # a new training began, without the records of before
            self._read = 0
        for record in history[self._read :]:
            self.send(record)
        self._read = len(history)


class FunctionCallback(RecordCallback):
    """Calls a function with every record.

    Args:
        function: Gets the record.
    """

    def __init__(self, function: Callable[[Mapping[str, float]], object]) -> None:
        super().__init__()
        self._function = function

    def send(self, record: Mapping[str, float]) -> None:
        """Call the function."""
        self._function(record)


class TensorBoardCallback(RecordCallback):
    """Writes every record to TensorBoard, also those of agents of your own, which log nothing themselves.

    Args:
        folder: Folder for the files, which ``tensorboard --logdir`` shows.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        import_extra("tensorboard", "TensorBoard", "tensorboard", "tensorboard")
        self._logger: Logger = configure(str(folder), ["tensorboard"])

    def send(self, record: Mapping[str, float]) -> None:
        """Write it at its time step."""
        log_record(self._logger, record, attribute_of(self.model, "env"))


class WandbRun(Protocol):
    """A run of Weights & Biases, as far as :class:`WandbCallback` uses it."""

    def log(self, data: dict[str, float], step: int) -> object:
        """Log numbers at a step."""
        ...

    def finish(self) -> object:
        """End the run."""
        ...


class WandbCallback(RecordCallback):
    """Sends every record to Weights & Biases.

    Args:
        project: Project of a new run.
        name: Name of the new run.
        config: Settings that are shown with it.
        run: A run that was begun already, with ``wandb.init``; it is not finished at the end of the training.

    Raises:
        MissingExtraError: wandb is not installed, and no run is given.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        config: Mapping[str, object] | None = None,
        run: WandbRun | None = None,
    ) -> None:
        super().__init__()
        self._given, self._run = run, run
        self._begin: Callable[[], WandbRun] | None = None
        if run is None:
            wandb = import_extra("wandb", "Weights & Biases", "wandb", "wandb")
            self._begin = lambda: wandb.init(project=project, name=name, config=dict(config or {}))

    def _init_callback(self) -> None:
        super()._init_callback()
        if self._run is None and self._begin is not None:
            self._run = self._begin()

    def send(self, record: Mapping[str, float]) -> None:
        """Log it at its time step."""
        assert self._run is not None  # since the callback was initialised
        known = {name: value for name, value in record.items() if value is not None}  # as in the log of a run
        named = {tag: float(value) for name, value in known.items() if (tag := tag_of(name)) is not None}
        self._run.log(named, step=int(record["timesteps"]))

    def _on_training_end(self) -> None:
        super()._on_training_end()
        if self._given is None and self._run is not None:
            self._run.finish()
            self._run = None
