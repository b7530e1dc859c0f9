"""Checkpoints of training that is counted in optimizer steps: supervised fine-tuning, fits of reward models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from textgym import console
from textgym.models.checkpoint import (
    load_newest,
    read_checkpoint,
    save_step,
    set_aside_newer,
    step_name,
    write_checkpoint,
)
from textgym.training.interrupts import StopRequest, Terminated, signal_of
from textgym.types import JsonObject

State = tuple[Mapping[str, Tensor], Mapping[str, object]]
"""Tensors by name, and JSON."""


class StepCheckpoints:
    """The checkpoints of one training, ``step-0000000100`` and so on; the newest two are kept.

    Args:
        folder: Folder of the checkpoints; made with the first.
        kind: Kind of training that they belong to, for errors.
        every: Steps between two of them.
        request: Request to stop; once it is wanted, a checkpoint is due after the step, and ends the training.
    """

    def __init__(self, folder: Path, kind: str, every: int, request: StopRequest | None = None) -> None:
        self.folder, self.kind, self.every, self.request = folder, kind, every, request

    def stopping_on(self, request: StopRequest) -> StepCheckpoints:
        """Return the same, with a request that ends the training."""
        return StepCheckpoints(self.folder, self.kind, self.every, request)

    def part(self, name: str) -> StepCheckpoints:
        """Return the checkpoints of one of several trainings of a run."""
        return StepCheckpoints(self.folder / name, self.kind, self.every, self.request)

    def restore(self, take: Callable[[dict[str, Tensor], JsonObject, Path], object]) -> bool:
        """Let ``take(tensors, record, folder)`` go on from the newest checkpoint that can be used.

        Returns:
            Whether there is one.
        """
        found = load_newest(self.folder, lambda path: take(*read_checkpoint(path, self.kind), path))
        for problem in found.problems:
            console.warn(f"skipped a damaged checkpoint: {problem}")
        if found.folder is None:
            return False
        set_aside_newer(found.folder)
        return True

    def save_if_due(self, step: int, steps: int, state: Callable[[], State]) -> None:
        """Save after every ``every`` steps, and after the last of ``steps``.

        Raises:
            Terminated: The user wants to stop; this step is saved.
        """
        wanted = self.request is not None and self.request.wanted
        if wanted or step % self.every == 0 or step == steps:
            self.save(step, state)
        if wanted:
            raise Terminated(signal_of(self.request))

    def save(self, step: int, state: Callable[[], State]) -> None:
        """Save unless it is saved, and remove all but the newest two."""
        if (self.folder / step_name(step)).is_dir():
            return
        tensors, record = state()
        save_step(self.folder, step, lambda path: write_checkpoint(path, tensors, {**record, "kind": self.kind}))
