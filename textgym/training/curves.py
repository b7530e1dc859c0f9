"""The plots and the table of samples of a training run, made from its log."""

from __future__ import annotations

from textgym.evaluation.core import Evaluation
from textgym.plots import plot_kl, plot_learning, plot_loss
from textgym.training.callbacks import SampleSheet
from textgym.training.run_folder import RunFolder
from textgym.training.tolerance import Tolerance

CURVES = ("learning_curve.png", "kl.png")


def plot_run(
    run: RunFolder, sheet: SampleSheet | None, before: Evaluation | None = None, after: Evaluation | None = None
) -> None:
    """Plot what the log has, reward or loss and KL, and write the table of the samples.

    Args:
        run: The folder.
        sheet: The prompts of the samples; ``None`` for no table.
        before, after: Measures on held-out prompts that are drawn too.
    """
    log, tolerance = run.log(), Tolerance()
    names = {name for row in log for name in row}
    sides = [item.measures.intervals() if item else None for item in (before, after)]
    with tolerance.of("a plot"):
        if "loss" in names and "reward" not in names:
            rows = [row for row in log if row.get("loss") is not None]
            steps = [row["timesteps"] for row in rows]
            plot_loss(run.path / CURVES[0], [row["loss"] for row in rows], "loss, nats per token", steps)
        else:
            plot_learning(run.path / CURVES[0], log, *sides)
        if "kl" in names:
            plot_kl(run.path / CURVES[1], log, log[-1].get("kl_target"))
    if sheet is not None:
        with tolerance.of("samples.md"):
            run.write_samples_table({example.key: example.text for example in sheet.examples})
