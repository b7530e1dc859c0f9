"""The plots and the table of samples of a training run, made from its log."""

from __future__ import annotations

import time
from collections.abc import Callable

from textgym.evaluation.core import Evaluation
from textgym.plots import PLAIN, Labels, plot_history, plot_kl, plot_learning, plot_loss
from textgym.training.callbacks import SampleSheet
from textgym.training.run_folder import RunFolder
from textgym.training.tolerance import Tolerance

SHEET = "curves.png"
CURVES = ("learning_curve.png", "kl.png", SHEET)
_SHARE = 0.02  # of the time of training that may go into plots
_FIRST = 5.0  # seconds of training before the first: shorter runs are drawn at their end


class LiveCurves:
    """The sheet of all curves of a run, drawn again while it trains, but not so often that training takes longer.

    Args:
        run: The folder.
        title: Title of the sheet.
        labels: Unit of the steps, and name of the reward.
        clock: Returns seconds.
    """

    def __init__(
        self, run: RunFolder, title: str, labels: Labels = PLAIN, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._run, self._title, self._labels, self._clock = run, title, labels, clock
        self._tolerance, self._next = Tolerance(), clock() + _FIRST

    def update(self) -> None:
        """Draw if it is time; to be called after every iteration."""
        start = self._clock()
        if start < self._next:
            return
        self.draw()
        end = self._clock()
        self._next = end + (end - start) / _SHARE

    def draw(self) -> None:
        """Draw the log as it is."""
        with self._tolerance.of("a plot"):
            plot_history(self._run.log(), self._run.path / SHEET, title=self._title, labels=self._labels)


def plot_run(
    run: RunFolder,
    sheet: SampleSheet | None,
    before: Evaluation | None = None,
    after: Evaluation | None = None,
    *,
    labels: Labels = PLAIN,
) -> None:
    """Plot what the log has, reward or loss and KL, and write the table of the samples.

    Args:
        run: The folder.
        sheet: The prompts of the samples; ``None`` for no table.
        before, after: Measures on held-out prompts that are drawn too.
        labels: Unit of the steps, and name of the reward.
    """
    log, tolerance = run.log(), Tolerance()
    names = {name for row in log for name in row}
    sides = [item.measures.intervals() if item else None for item in (before, after)]
    with tolerance.of("a plot"):
        if "loss" in names and "reward" not in names:
            rows = [row for row in log if row.get("loss") is not None]
            steps = [row["timesteps"] for row in rows]
            label = "loss" if "accuracy" in names else "loss, nats per token"
            plot_loss(run.path / CURVES[0], [row["loss"] for row in rows], label, steps)
        else:
            plot_learning(run.path / CURVES[0], log, *sides, labels=labels)
        if "kl" in names:
            plot_kl(run.path / CURVES[1], log, log[-1].get("kl_target"), labels)
    if sheet is not None:
        with tolerance.of("samples.md"):
            run.write_samples_table({example.key: example.text for example in sheet.examples}, labels.unit)
