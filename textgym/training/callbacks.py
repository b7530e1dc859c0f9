"""What happens beside training: logs, sample texts, checkpoints, progress, and stopping between iterations."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from textgym import console
from textgym.evaluation.episodes import transcript
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.training.interrupts import StopRequest
from textgym.training.run_folder import RunFolder
from textgym.training.tolerance import Tolerance
from textgym.types import Example, Task

KEPT_CHECKPOINTS = 2
_ROLLOUT_SHARE = 0.25  # of an iteration's time, until it is measured: tokens count in full after the update


class StopTraining(Exception):  # noqa: N818 - no error: the way out of `learn` between two iterations
    """Training ends here because the user wants it to; everything is saved."""


@dataclass(frozen=True, slots=True)
class SampleSheet:
    """The prompts whose texts are written down through training.

    Attributes:
        task: Formats them.
        examples: A few of the validation split.
        sampling: The same seed every time, so that differences come from the weights.
    """

    task: Task
    examples: Sequence[Example]
    sampling: Sampling


class RunCallback(BaseCallback):
    """Keeps the run folder up to date. Everything is written between iterations, when weights are whole.

    Args:
        run: The folder.
        sheet: Prompts to sample from; ``None`` for none.
        request: Whether to stop.
        ticker: Shows the progress in tokens.
        tolerance: Where errors of logs go.
        save_every: Iterations between checkpoints.
        sample_every: Iterations between samples.
        iteration: Time steps of an iteration.
    """

    model: Any  # any Trainable

    def __init__(
        self,
        run: RunFolder,
        sheet: SampleSheet | None,
        request: StopRequest,
        ticker: console.Ticker,
        tolerance: Tolerance,
        *,
        save_every: int,
        sample_every: int,
        iteration: int,
    ) -> None:
        super().__init__()
        self._run, self._sheet, self._request, self._ticker = run, sheet, request, ticker
        self._tolerance = tolerance
        self._save_every, self._sample_every, self._iteration = save_every, sample_every, iteration
        log, samples = run.log(), run.samples()
        self._logged = log[-1]["timesteps"] if log else 0
        self._sampled = samples[-1]["timesteps"] if samples else -1
        self._iterations = len(log)
        self._saved = -1
        self._unwritten: list[dict[str, Any]] = []
        self._times: Mapping[str, float] = {}
        self._shown = 0.0
        self._begun: int | None = None
        self._rollout_share = _ROLLOUT_SHARE

    def _on_rollout_start(self) -> None:
        """Between iterations: the weights are updated, and nothing new is sampled."""
        self.flush()
        if self._iterations and self._iterations % self._save_every == 0:
            self.save_checkpoint()
        if self._request.wanted:
            self.save_checkpoint()
            raise StopTraining

    def _on_step(self) -> bool:
        self._show(self._rollout_share * getattr(self.model, "n_envs", 1))
        return True

    def _on_rollout_end(self) -> None:
        """Keep the record of times: the agent begins a new one with the next rollout, before this one is read."""
        self._times = self.model.seconds
        if hasattr(self.model, "remember_weights"):
            self.model.remember_weights()  # from here on they change

    def finish(self) -> None:
        """Write what is left to write after the last iteration, and a checkpoint."""
        self.flush()
        self.write_samples()
        self.save_checkpoint()

    def flush(self) -> None:
        """Write the records of iterations that ended since the last call, and samples if they are due.

        A record that could not be written is tried again with the next one.
        """
        for record in self.model.history:
            if record["timesteps"] > self._logged:
                self._logged = record["timesteps"]
                self._iterations += 1
                times = {f"seconds/{part}": value for part, value in self._times.items()}
                self._unwritten.append({"iteration": self._iterations, **record, **times})
                self._show_iteration(record)
        with self._tolerance.of("log.jsonl"):
            while self._unwritten:
                self._run.append_log(self._unwritten[0])
                del self._unwritten[0]
        if self._iterations % self._sample_every == 0:
            self.write_samples()

    def _show_iteration(self, record: Mapping[str, Any]) -> None:
        """Bring the bar to the end of an iteration, and learn which part of its time sampling takes."""
        if self._times.get("rollout"):
            self._rollout_share = self._times["rollout"] / sum(self._times.values())
        # A ticker counts from where this process began, the agent from where the run did.
        self._begun = record["timesteps"] - self._iteration if self._begun is None else self._begun
        self._show(record["timesteps"] - self._begun - self._shown, note=_note(record))

    def _show(self, tokens: float, note: str | None = None) -> None:
        self._shown += tokens
        self._ticker.advance(tokens, note=note)

    def write_samples(self) -> None:
        """Write down what the model says now about the fixed prompts."""
        if self._sheet is None or self.model.num_timesteps == self._sampled:
            return
        self._sampled = self.model.num_timesteps
        sheet = self._sheet
        samples = sample_texts(self.model.text_model, sheet.task, sheet.examples, sheet.sampling)
        texts = {episode.example.key: transcript(episode) for episode in samples.episodes}
        with self._tolerance.of("samples.jsonl"):
            self._run.append_samples(self._sampled, texts)

    def save_checkpoint(self) -> None:
        """Save everything that is needed to go on, and remove all but the newest checkpoints."""
        self._save(self.model.num_timesteps)

    def rescue(self) -> None:
        """Save the last whole iteration after an error in whatever followed it.

        Raises:
            CheckpointError: It cannot be saved, as after the first step of an update of a large model.
        """
        if self.model.history:
            self._save(int(self.model.history[-1]["timesteps"]))

    def _save(self, timesteps: int) -> None:
        if timesteps == self._saved:
            return
        self.model.save(self._run.checkpoints / f"step-{timesteps:010d}")
        self._saved = timesteps
        for old in _checkpoint_folders(self._run.checkpoints)[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)


def _checkpoint_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _note(record: Mapping[str, Any]) -> str:
    parts = [f"{name} {console.number(record[name])}" for name in ("reward", "kl") if name in record]
    return "  ".join(parts)
