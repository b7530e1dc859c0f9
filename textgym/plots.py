"""Plots of a run, as PNG files."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
"""One record of a log or of rounds: plain data by name."""
_COLOURS = {"reward": "#1f77b4", "gold": "#d08700", "metric": "#2c8a4b", "kl": "#b5324a", "loss": "#1f77b4"}
_VOTES = "#7a5195"
_APART = 0.06  # rounds, so that intervals do not cover each other
_LABELS = {"reward": "reward", "gold": "gold (true quality)"}


def plot_learning(
    file: Path,
    log: Sequence[Row],
    before: Mapping[str, Interval] | None = None,
    after: Mapping[str, Interval] | None = None,
    *,
    measures: Sequence[str] = ("reward", "gold"),
) -> None:
    """Draw measures of the training texts, and of held-out prompts before and after, a panel each.

    Args:
        file: Where the PNG goes.
        log: Records with ``timesteps`` and ``reward``, one per iteration.
        before, after: Measures on held-out prompts.
        measures: Measures to draw, as far as they are known: the reward and the quality.
    """
    figure = _figure()
    names = [name for name in measures if any(record.get(name) is not None for record in log)]
    shown = names or [name for name in measures if name in (before or {})]
    for place, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        _draw_line(axes, log, name, "training texts")
        end = max((record["timesteps"] for record in log), default=1)
        for moment, known in ((0, before), (end, after)):
            if known and name in known:
                _draw_interval(axes, moment, known[name], label="held-out prompts, 95 %" if not moment else None)
        _finish(axes, "tokens", _LABELS.get(name, name))
    _save(figure, file)


def plot_kl(file: Path, log: Sequence[Row], target: float | None = None) -> None:
    """Draw the KL per text to the start model (nats), against tokens."""
    figure = _figure()
    axes = figure.add_subplot()
    _draw_line(axes, log, "kl", "sum of log pi - log ref per text")
    if target is not None:
        axes.axhline(target, color="grey", linestyle="--", linewidth=1, label="target")
    _finish(axes, "tokens", "KL to the reference model, nats per response")
    _save(figure, file)


def plot_loss(file: Path, losses: Sequence[float], label: str, steps: Sequence[float] | None = None) -> None:
    """Draw a loss, and its running mean, against optimizer steps; by default there is a loss of every step."""
    figure = _figure()
    axes = figure.add_subplot()
    line = "each step" if steps is None else "each record"
    steps = range(1, len(losses) + 1) if steps is None else steps
    axes.plot(steps, losses, color=_COLOURS["loss"], alpha=0.3, linewidth=1, label=line)
    axes.plot(steps, running_mean(losses, max(1, len(losses) // 20)), color=_COLOURS["loss"], label="running mean")
    _finish(axes, "steps", label)
    _save(figure, file)


def plot_reward_report(
    file: Path,
    calibration: Sequence[tuple[float, float, int]],
    by_length: Mapping[str, Interval],
    curve: Sequence[tuple[int, Interval]] = (),
    ceiling: Interval | None = None,
) -> None:
    """Draw how far a reward model's probabilities and its accuracy can be trusted.

    Args:
        file: Where the PNG goes.
        calibration: Predicted and observed frequency, and number of preferences.
        by_length: Accuracy by how many words the preferred text has more.
        curve: Accuracy after so many records.
        ceiling: How often people agree with each other.
    """
    figure = _figure()
    panels = figure.subplots(1, 3 if curve else 2, squeeze=False)[0]
    predicted, observed, counts = zip(*calibration, strict=True)
    panels[0].plot([0.5, 1], [0.5, 1], linestyle=":", color="#888888", label="as often as predicted")
    areas = [10 + 190 * count / sum(counts) for count in counts]
    panels[0].scatter(predicted, observed, s=areas, color=_COLOURS["loss"])
    panels[0].plot(predicted, observed, color=_COLOURS["loss"], linewidth=1, label="observed (area: preferences)")
    _finish(panels[0], "predicted probability of the preferred text", "share that is preferred")
    for place, interval in enumerate(by_length.values()):
        _draw_interval(panels[1], place, interval, label=None if place else "95 %")
    panels[1].set_xticks(range(len(by_length)), list(by_length), fontsize=8)
    _draw_accuracy(panels[1], ceiling, "words that the better text has more")
    if curve:
        panels[2].set_xscale("log")
        panels[2].plot([labels for labels, _ in curve], [each.mean for _, each in curve], color=_COLOURS["loss"])
        for labels, interval in curve:
            _draw_interval(panels[2], labels, interval, label=None)
        panels[2].set_xticks([labels for labels, _ in curve], [f"{labels:,}" for labels, _ in curve], fontsize=8)
        panels[2].minorticks_off()
        _draw_accuracy(panels[2], ceiling, "records")
    _save(figure, file)


def _draw_accuracy(axes: Axes, ceiling: Interval | None, x_label: str) -> None:
    """Finish a panel of accuracies."""
    axes.axhline(0.5, linestyle=":", color="#888888", label="chance")
    if ceiling is not None:
        axes.axhline(ceiling.mean, linestyle="--", color=_COLOURS["metric"], label="people with each other")
    axes.set_ylim(0, 1.02)
    _finish(axes, x_label, "held-out accuracy")


def plot_scaling(file: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draw microseconds per token against sizes, one panel each, on logarithmic axes; a flat line scales.

    A dotted line of slope 1 shows what a cost in proportion to the size would look like.

    Args:
        file: Where the PNG goes.
        curves: Name of the size -> (sizes, microseconds per token).
    """
    figure = _figure()
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (name, (sizes, times)) in zip(panels, curves.items(), strict=True):
        axes.loglog(sizes, [times[0] * size / sizes[0] for size in sizes], linestyle=":", color="#888888")
        axes.loglog(sizes, times, marker="o", markersize=4, color=_COLOURS["loss"])
        axes.set_xticks([sizes[0], sizes[-1]], [f"{sizes[0]:,}", f"{sizes[-1]:,}"])
        axes.minorticks_off()
        _finish(axes, name, "microseconds per token" if axes is panels[0] else "")
    every = [time for _, times in curves.values() for time in times]
    panels[0].set_ylim(min(every) / 2, max(every) * 2)
    _save(figure, file)


def plot_rounds(file: Path, rounds: Sequence[Row], measure: str | None = None) -> None:
    """Draw what every round of learning from feedback changed, with 95 % intervals.

    The reward has a line per round, from the policy that the round started with to the one it ended with, because every
    round has a reward of its own.

    Args:
        file: Where the PNG goes.
        rounds: Records with ``round`` and ``labels`` (spent so far), and, as far as they are known, ``{"mean", "low",
            "high"}`` of ``reward_before``, ``reward``, ``win_rate``, ``win_rate_by_votes``, ``accuracy`` and the
            measure. Round 0 is the start model.
        measure: Measure of quality; ``None`` where there is none.
    """
    figure = _figure(height=6.4)
    reward, quality, wins, labels = figure.subplots(2, 2).flat
    for record in rounds[1:]:
        start, end = record["round"] - 1 + _APART, record["round"] - _APART
        ends = [(start, record["reward_before"]), (end, record["reward"])]
        _draw_means(reward, ends, _COLOURS["reward"])
    colour = _COLOURS.get(measure or "", _COLOURS["metric"])
    if measure is not None:
        _draw_means(quality, [(record["round"], record[measure]) for record in rounds], colour)
    wins.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    by_quality = f"by {_LABELS.get(measure or '', measure)}, held-out prompts"
    _draw_wins(wins, rounds, "win_rate", colour if measure else "grey", by_quality, -_APART)
    _draw_wins(wins, rounds, "win_rate_by_votes", _VOTES, "by votes, training prompts", _APART)
    wins.set_ylim(0, 1)
    spent = [(record["labels"], record["accuracy"]) for record in rounds if record.get("accuracy")]
    _draw_means(labels, spent, _COLOURS["kl"])
    labels.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    labels.set_xlim(0, 1.08 * rounds[-1]["labels"])
    for axes in (reward, quality, wins):
        axes.set_xticks([record["round"] for record in rounds])
        axes.set_xlim(-0.3, rounds[-1]["round"] + 0.3)
    _finish(reward, "round", "reward of the round, start to end")
    _finish(quality, "round", _LABELS.get(measure or "", measure or "true quality is not known"))
    _finish(wins, "round", "win rate against the round before")
    _finish(labels, "labels spent", "held-out accuracy of the reward")
    _save(figure, file)


def ignore_style_of_folder() -> bool:
    """Keep matplotlib from reading a ``matplotlibrc`` in the current folder: one can hold expressions that are run.

    Returns:
        True if there is one.
    """
    if not os.path.lexists("matplotlibrc"):
        return False
    with contextlib.chdir(sys.prefix):
        import matplotlib  # noqa: F401  # reads its settings now, and never again
    return True


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of the last ``window`` values (fewer at the start) at every place."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    ends = range(1, len(values) + 1)
    return [(sums[end] - sums[max(0, end - window)]) / min(end, window) for end in ends]


def _figure(height: float = 4.2) -> Figure:
    from matplotlib.figure import Figure  # lazy: a second to import, and only runs that end need it

    return Figure(figsize=(9, height), dpi=110, layout="constrained")


def _draw_line(axes: Axes, log: Sequence[Row], name: str, label: str) -> None:
    points = [(record["timesteps"], record[name]) for record in log if record.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=_COLOURS.get(name, _COLOURS["metric"]), linewidth=1.6, label=label)


def _draw_interval(axes: Axes, moment: float, interval: Interval, label: str | None) -> None:
    widths = (interval.mean - interval.low, interval.high - interval.mean)
    errors = [[width if math.isfinite(width) else 0.0] for width in widths]
    axes.errorbar([moment], [interval.mean], yerr=errors, label=label, fmt="o", color="black", capsize=4, markersize=5)


def _draw_wins(axes: Axes, rounds: Sequence[Row], name: str, colour: str, label: str, shift: float) -> None:
    """Draw a win rate where it is known, a little beside its round."""
    known = [(record["round"] + shift, record[name]) for record in rounds if record.get(name)]
    if known:
        _draw_means(axes, known, colour, label)


def _draw_means(
    axes: Axes, points: Sequence[tuple[float, Mapping[str, float | None]]], colour: str, label: str | None = None
) -> None:
    """Draw a line through means, with their intervals; a bound that is not known is left out."""
    means = [math.nan if item["mean"] is None else item["mean"] for _, item in points]
    widths = [[_width(item, side) for _, item in points] for side in ("low", "high")]
    places = [place for place, _ in points]
    axes.errorbar(
        places, means, yerr=widths, label=label, fmt="o-", color=colour, capsize=4, markersize=5, linewidth=1.4
    )


def _width(item: Mapping[str, float | None], side: str) -> float:
    mean, bound = item["mean"], item[side]
    return abs(mean - bound) if mean is not None and bound is not None else 0.0


def _finish(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _save(figure: Figure, file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(str(file))
