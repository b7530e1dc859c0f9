"""Callbacks of a training run: logs, sample texts, checkpoints, progress, and stopping between iterations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from textgym import console
from textgym.agents.common.distributed import Communicator
from textgym.agents.common.health import Concerns
from textgym.agents.common.history import log_record, log_texts
from textgym.agents.facts import Logging, Recoverable, Watched
from textgym.evaluation.core import text_model_of
from textgym.evaluation.episodes import transcript
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.models.checkpoint import save_step, step_name
from textgym.security.escaping import markdown
from textgym.training.interrupts import StopRequest
from textgym.training.run_folder import RunFolder
from textgym.training.time_budget import TimeBudget
from textgym.training.tolerance import Tolerance
from textgym.types import Example, JsonObject, Task, Trainable
from textgym.values import attribute_of

_ROLLOUT_SHARE = 0.25  # of an iteration's time, until it is measured: tokens count in full after the update


class StopTraining(Exception):  # noqa: N818 - no error: the way out of `learn` between two iterations
    """Training ends here because the user wants it to; everything is saved."""


class StepsCorrected(Exception):  # noqa: N818 - no error: the way out of `learn`, to go on with another number of steps
    """Training is to make another number of steps; everything is saved.

    Attributes:
        steps: How many in all.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.steps = steps


class BudgetSpentError(Exception):
    """Training ends here because a :class:`Watch` says so: the way out of ``learn`` between two iterations."""


class Watch(Protocol):
    """A function that looks at a training between its iterations, and can end it."""

    def __call__(self, agent: Trainable, rows: Sequence[JsonObject], seconds: float) -> bool:
        """Look at the agent, whose weights are whole; it must stay as it is, and so must random generators.

        Args:
            agent: Agent that learns.
            rows: Rows of ``log.jsonl`` since the last call; none at the first.
            seconds: Time that the agent took since the last call; checkpoints, samples and plots are no part of it.

        Returns:
            Whether training ends here, as if all its steps were made.
        """
        ...


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


class Rhythm(BaseCallback):
    """Decides when a checkpoint is due, and when training stops: between iterations, and the same on all ranks.

    In a process that writes no files it is all there is; :class:`RunCallback` does the rest.

    Args:
        checkpoints: Folder of the checkpoints.
        request: Whether to stop.
        ranks: The processes that train together.
        steps: The time step that training ends after.
        save_every: Iterations between checkpoints; optimizer steps, if ``samples`` is false.
        samples: As in :class:`~textgym.agents.facts.AgentFacts`.
        iterations: Those made before, by a run that is resumed.
        resumed: The agent goes on with a training; otherwise it begins one, whatever it has learned before.
    """

    model: Any  # any Trainable

    def __init__(
        self,
        checkpoints: Path,
        request: StopRequest,
        ranks: Communicator,
        *,
        steps: int,
        save_every: int,
        samples: bool,
        iterations: int,
        resumed: bool = False,
    ) -> None:
        super().__init__()
        self.has_stopped = False
        self._checkpoints, self._request, self._ranks = checkpoints, request, ranks
        self._steps, self._save_every, self._samples, self._resumed = steps, save_every, samples, resumed
        self._iterations = iterations
        self._first = self._read = 0  # records of the agent: the first of this training, and the next to read
        self._saved = -1

    def _init_callback(self) -> None:
        self._first = self._read = self._records_before()

    def _records_before(self) -> int:
        """The number of records of the agent that are of earlier trainings; the steps of each are counted from 0."""
        counts = [record["timesteps"] for record in self.model.history]
        if not self._resumed or (counts and counts[-1] > self.model.num_timesteps):
            return len(counts)
        return max((place for place in range(1, len(counts)) if counts[place] <= counts[place - 1]), default=0)

    def _on_rollout_start(self) -> None:
        """Between iterations: the weights are updated, and nothing new is sampled."""
        self.flush()
        self._save_or_stop(self._iterations if self._samples else self.model.num_timesteps)

    def _on_step(self) -> bool:
        """Between optimizer steps, unless an iteration ends here, whose record comes first."""
        steps = self.num_timesteps
        if not self._samples and steps % self.model.steps_per_iteration and steps < self._steps:
            self._save_or_stop(steps)
        return True

    def _save_or_stop(self, count: int) -> None:
        """Save a checkpoint if one is due after so many iterations or steps, or if the user wants to stop."""
        if self._ranks.any(self._request.wanted):
            self.has_stopped = True
            self.save_checkpoint()
            raise StopTraining
        if count and count % self._save_every == 0:
            self.save_checkpoint()

    def _on_rollout_end(self) -> None:
        if isinstance(self.model, Recoverable):
            self.model.remember_weights()  # from here on they change

    def flush(self) -> None:
        """Count the iterations that ended since the last call."""
        self._iterations += len(self._new_records())

    def _new_records(self) -> list[dict[str, float]]:
        """The records of the agent since the last call."""
        if len(self.model.history) < self._read:  # the agent dropped those of before
            self._first = self._read = 0
        new: list[dict[str, float]] = self.model.history[self._read :]
        self._read += len(new)
        return new

    def finish(self) -> None:
        """Do what is left after the last iteration, and save a checkpoint."""
        self.flush()
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Save everything that is needed to go on, and remove all but the newest checkpoints."""
        self._save(self.model.num_timesteps)

    def _save(self, timesteps: int) -> None:
        """Save the agent, on all ranks: the first one writes what all of them are asked for."""
        if timesteps == self._saved:
            return
        if self._ranks.rank:
            self.model.save(self._checkpoints / step_name(timesteps))
        else:
            save_step(self._checkpoints, timesteps, self.model.save)
        self._saved = timesteps


class RunCallback(Rhythm):
    """Keeps the run folder up to date. Everything is written between iterations, when weights are whole.

    Args:
        run: The folder.
        sheet: Prompts to sample from; ``None`` for none.
        request: Whether to stop.
        ticker: Shows the progress in time steps.
        tolerance: Where errors of logs go.
        ranks: The processes that train together.
        steps, save_every, samples, resumed: As for :class:`Rhythm`.
        sample_every: Iterations between samples.
        board: Logger of TensorBoard; sample texts go there, and the records of an agent that does not log itself.
        references: As in :class:`~textgym.agents.common.health.Concerns`.
        draw: Called after every iteration, to draw its curves again.
        budget: Corrects ``steps`` between iterations, by raising :class:`StepsCorrected`.
        watch: Called between iterations, before a checkpoint is saved, and at the end.
    """

    def __init__(
        self,
        run: RunFolder,
        sheet: SampleSheet | None,
        request: StopRequest,
        ticker: console.Ticker,
        tolerance: Tolerance,
        ranks: Communicator,
        *,
        steps: int,
        save_every: int,
        sample_every: int,
        samples: bool,
        resumed: bool = False,
        board: Logger | None = None,
        references: Callable[[], Sequence[float]] | None = None,
        draw: Callable[[], object] | None = None,
        budget: TimeBudget | None = None,
        watch: Watch | None = None,
    ) -> None:
        log, sampled = run.log(), run.samples()
        rhythm = {"steps": steps, "save_every": save_every}
        super().__init__(
            run.checkpoints, request, ranks, samples=samples, iterations=len(log), resumed=resumed, **rhythm
        )
        self._budget, self._draw, self._watch = budget, draw, watch
        self._unseen: list[JsonObject] = []  # rows that the watch is still to see
        self._since: float | None = None  # when the agent went on
        self._board, self._concerns = board or Logger(None, []), Concerns(references)
        self._run, self._sheet, self._ticker, self._tolerance = run, sheet, ticker, tolerance
        self._sample_every = sample_every
        self._logged = log[-1]["timesteps"] if log else 0
        self._sampled = sampled[-1]["timesteps"] if sampled else -1
        self._unwritten: list[JsonObject] = []
        self._times: Mapping[str, float] = {}
        self._begun, self._shown = 0, 0.0  # steps before this call of `learn`, and those that the ticker has of it
        self._rollout_share = _ROLLOUT_SHARE if samples else 1.0

    def _init_callback(self) -> None:
        super()._init_callback()
        self._begun = self.num_timesteps = self.model.num_timesteps if self._resumed else 0
        self._shown = 0.0
        if isinstance(self.model, Watched):
            self.model.set_concerns(self._concerns)

    def on_step(self) -> bool:
        """Show the steps that were made since the last call."""
        before = self.num_timesteps
        going_on = super().on_step()
        self._show(self._rollout_share * (self.num_timesteps - before))
        return going_on

    def _on_rollout_start(self) -> None:
        """Between iterations: the weights are updated, and nothing new is sampled."""
        is_spent = self._end_iteration()
        self._save_or_stop(self._iterations if self._samples else self.model.num_timesteps)
        if is_spent:
            raise BudgetSpentError
        self._correct_steps()
        self._since = time.perf_counter()

    def _end_iteration(self) -> bool:
        """Write down what is new, and show it to the watch; true if training is to end."""
        seconds = 0.0 if self._since is None else time.perf_counter() - self._since
        self._since = None
        self.flush()
        rows, self._unseen = self._unseen, []
        return self._watch is not None and self._watch(self.model, rows, seconds)

    def _correct_steps(self) -> None:
        """End this call of ``learn`` if another number of steps fits the budget of time."""
        steps = self.corrected_steps()
        if steps != self._steps:
            self.save_checkpoint()  # which the run resumes from, with the new number
            raise StepsCorrected(steps)

    def corrected_steps(self) -> int:
        """Return the number of steps to make in all, as many as fit the budget of time."""
        return self._steps if self._budget is None else self._budget.steps(self.model.num_timesteps, self._steps)

    def go_on(self, steps: int) -> None:
        """Take the next call of ``learn`` for more of the same training, of so many steps in all."""
        self._steps, self._resumed = steps, True

    def _on_rollout_end(self) -> None:
        """Keep the record of times: the agent begins a new one with the next rollout, before this one is read."""
        self._times = self.model.seconds
        super()._on_rollout_end()

    def finish(self) -> None:
        """Write what is left to write after the last iteration, and a checkpoint."""
        self._end_iteration()
        self.write_samples()
        self.save_checkpoint()

    def flush(self) -> None:
        """Write the records of iterations that ended since the last call, and samples if they are due.

        A record that could not be written is tried again with the next one.
        """
        new = self._new_records()
        for record in new:
            if record["timesteps"] > self._logged:
                self._logged = record["timesteps"]
                self._iterations += 1
                times = {f"seconds/{part}": value for part, value in self._times.items()}
                step = {} if self._samples else {"step": record["timesteps"]}
                row = {"iteration": self._iterations, **step, **record, **times}
                self._unwritten.append(row)
                self._unseen.append(row)
                self._show_iteration(record)
                if not isinstance(self.model, Logging):
                    log_record(self._board, record, attribute_of(self.model, "env"))
                self._concerns.check(self.model.history)
        with self._tolerance.of("log.jsonl"):
            while self._unwritten:
                self._run.append_log(self._unwritten[0])
                del self._unwritten[0]
        if new and self._draw is not None:
            self._draw()
        is_between = self.model.num_timesteps == self._logged  # an iteration is not gone on with in its middle
        if is_between and self._iterations % self._sample_every == 0:
            self.write_samples()

    def _show_iteration(self, record: JsonObject) -> None:
        """Bring the bar to the end of an iteration, and learn which part of its time sampling takes."""
        if self._times.get("rollout"):
            self._rollout_share = self._times["rollout"] / sum(self._times.values())
        # A ticker counts from where this process began, the agent from where the run did.
        self._show(record["timesteps"] - self._begun - self._shown, note=_note(record))

    def _show(self, steps: float, note: str | None = None) -> None:
        self._shown += steps
        self._ticker.advance(steps, note=note)

    def write_samples(self) -> None:
        """Write down what the model says now about the fixed prompts."""
        sheet, model = self._sheet, text_model_of(self.model)
        if sheet is None or model is None or self.model.num_timesteps == self._sampled:
            return
        prompts = {example.key: example.text for example in sheet.examples} if self._sampled < 0 else None
        self._sampled = self.model.num_timesteps
        samples = sample_texts(model, sheet.task, sheet.examples, sheet.sampling)
        texts = {episode.example.key: transcript(episode) for episode in samples.episodes}
        with self._tolerance.of("samples.jsonl"):
            self._run.append_samples(self._sampled, texts, prompts)
        log_texts(self._board, {f"samples/{key}": markdown(text) for key, text in texts.items()}, self._sampled)

    def rescue(self) -> None:
        """Save the last whole iteration after an error in whatever followed it, without the help of other ranks.

        Raises:
            CheckpointError: It cannot be saved, as after the first step of an update of a large model.
            RankLostError: Other processes have a part of it.
        """
        self._ranks.leave()  # one of them may be gone, and the others wait for something else
        if not self._samples and self.model.num_timesteps:
            self.save_checkpoint()
        elif len(self.model.history) > self._first:
            self._save(int(self.model.history[-1]["timesteps"]))


def _note(record: JsonObject) -> str:
    parts = [f"{name} {console.number(record[name])}" for name in ("reward", "kl", "loss") if name in record]
    return "  ".join(parts)
