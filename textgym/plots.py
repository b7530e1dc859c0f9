"""Plots of a run, as PNG files and as figures for notebooks."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from textgym.files.disk import replacing
from textgym.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
"""One record of a log or of rounds: plain data by name."""
_Panel: TypeAlias = "Callable[[Axes, Sequence[Row], Labels], None]"
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#a4243b", "#7a5195"  # told apart by all eyes
_GREY = "#6b6b6b"
_COLOURS = {"reward": _BLUE, "gold": _ORANGE, "metric": _GREEN, "kl": _RED, "loss": _BLUE}
_VOTES = _PURPLE
_APART = 0.06  # rounds, so that intervals do not cover each other
_LABELS = {"gold": "gold (true quality)"}
_FEW_TICKS = 4  # of long numbers, so that they do not overlap in a narrow panel
_FEW_POINTS = 30  # a marker for each; a line alone shows nothing of a single one
CHANCE = math.log(2)
"""Negative log-likelihood of a choice between two texts by somebody who guesses, nats."""


class Labels(NamedTuple):
    """The words of a plot that depend on the run.

    Attributes:
        unit: Name of a time step, in the plural.
        reward: Name of the reward; ``None`` if it is not known.
    """

    unit: str = "time steps"
    reward: str | None = None

    @property
    def of_reward(self) -> str:
        """The label of an axis of rewards."""
        return "reward" if self.reward in (None, "reward") else f"reward: {self.reward}"


PLAIN = Labels()
"""Words that suit every run."""


def plot_history(
    history: Sequence[Row], file: str | Path | None = None, *, title: str = "", labels: Labels = PLAIN
) -> Figure:
    """Plot all that the records of an agent tell of reward, KL, length, entropy and ends of texts, or its loss.

    Of one that learns from preferences: accuracy, implied rewards, and log-probabilities of the responses.

    Args:
        history: Records with ``timesteps``, one per iteration, as in ``agent.history`` or ``log.jsonl``.
        file: Where the figure goes too, as a PNG file; ``None`` for nowhere.
        title: Title of the sheet.
        labels: Unit of the steps, and name of the reward; by default the one that the records name.

    Returns:
        The figure.
    """
    panels, labels = _panels_of(history, labels)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = blank_figure(height=max(4.2, 3.2 * rows), width=max(6.0, 4.0 * columns))
    for place, draw in enumerate(panels):
        draw(figure.add_subplot(rows, columns, place + 1), history, labels)
    if title:
        figure.suptitle(title)
    if file is not None:
        save_figure(figure, Path(file))
    return figure


def plot_panels(history: Sequence[Row], labels: Labels = PLAIN) -> list[Figure]:
    """Return the plots of :func:`plot_history` as a figure each, for pages of any width."""
    panels, labels = _panels_of(history, labels)
    figures = [blank_figure(height=4.1, width=5.4) for _ in panels]
    for figure, draw in zip(figures, panels, strict=True):
        draw(figure.add_subplot(), history, labels)
    return figures


def _panels_of(history: Sequence[Row], labels: Labels) -> tuple[list[_Panel], Labels]:
    """Return what draws the plots that records know something for, and labels with the name of their reward."""
    known = {name for record in history for name, value in record.items() if value is not None}
    panels = [draw for names, draw in _PANELS.items() if known & set(names)] or [_draw_loss]
    return panels, labels if labels.reward is not None else labels._replace(reward=_reward_in(known))


def _reward_in(known: set[str]) -> str | None:
    """Return the name of the only reward among the numbers of records; ``None`` if it has several parts, or no name."""
    parts = [name.removeprefix("reward/") for name in known if name.startswith("reward/")]
    names = [part for part in parts if part not in ("total", "turns") and not part.endswith("_raw")]
    return names[0] if len(names) == 1 else None


def _draw_reward(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "reward", "mean of the texts of an iteration")
    finish_axes(axes, "Reward of training texts", labels.unit, labels.of_reward)


def _draw_gold(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "gold", "mean of the texts of an iteration")
    finish_axes(axes, "True quality, which nothing learns from", labels.unit, "gold")


def _draw_kl(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "kl", "k1: mean of log pi - log ref")
    _draw_line(axes, log, "kl_k3", "k3: never negative", _PURPLE, linestyle="--")
    target = next((record["kl_target"] for record in reversed(log) if record.get("kl_target") is not None), None)
    if target is not None:
        axes.axhline(target, color=_GREY, linestyle=":", linewidth=1.4, label="target")
    finish_axes(axes, "KL to the reference model", labels.unit, "nats per text")


def _draw_length(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "length", "mean of the texts of an iteration", _GREEN)
    finish_axes(axes, "Length of texts", labels.unit, "tokens per text")


def _draw_entropy(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "entropy", "mean over tokens", _PURPLE)
    finish_axes(axes, "Entropy of the next token", labels.unit, "nats per token")


def _draw_ends(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    ends = [
        {"timesteps": record["timesteps"], "ends": 1 - record["cut"] if record.get("cut") is not None else known}
        for record in log
        if (known := record.get("eos")) is not None or record.get("cut") is not None
    ]
    _draw_line(axes, ends, "ends", "not cut by the token budget", _ORANGE)
    finish_axes(axes, "Finished texts", labels.unit, "share of texts")
    axes.set_ylim(-0.05, 1.05)


def _draw_loss(axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    _draw_line(axes, log, "loss", "mean of an iteration")
    finish_axes(axes, "Training loss", labels.unit, "loss, nats per token")


_Lines = Sequence[tuple[str, str, str]]  # name in the records, label, colour
_RIGHT: _Lines = (("accuracy", "mean of an iteration", _BLUE),)
_IMPLIED: _Lines = (
    ("reward_chosen", "chosen", _GREEN),
    ("reward_rejected", "rejected", _RED),
    ("reward_desirable", "desirable", _GREEN),
    ("reward_undesirable", "undesirable", _RED),
)
_LIKELY: _Lines = (("log_prob_chosen", "chosen", _GREEN), ("log_prob_rejected", "rejected", _RED))


def _draw_lines(lines: _Lines, title: str, y_label: str, axes: Axes, log: Sequence[Row], labels: Labels) -> None:
    for name, label, colour in lines:
        if any(record.get(name) is not None for record in log):
            _draw_line(axes, log, name, label, colour)
    finish_axes(axes, title, labels.unit, y_label)


_PANELS: Mapping[tuple[str, ...], _Panel] = {
    ("reward",): _draw_reward,
    ("gold",): _draw_gold,
    ("kl", "kl_k3"): _draw_kl,
    ("length",): _draw_length,
    ("entropy",): _draw_entropy,
    ("cut", "eos"): _draw_ends,
    ("accuracy",): partial(_draw_lines, _RIGHT, "Accuracy on training feedback", "share of it"),
    tuple(name for name, _, _ in _IMPLIED): partial(_draw_lines, _IMPLIED, "Implied rewards", "mean of an iteration"),
    ("log_prob_chosen",): partial(_draw_lines, _LIKELY, "Log-probability of responses", "nats per text"),
}
"""What the records have to know -> what is drawn then, in this order."""


def plot_learning(
    file: Path,
    log: Sequence[Row],
    before: Mapping[str, Interval] | None = None,
    after: Mapping[str, Interval] | None = None,
    *,
    measures: Sequence[str] = ("reward", "gold"),
    labels: Labels = PLAIN,
) -> None:
    """Draw measures of the training texts, and of held-out prompts before and after, a panel each.

    Args:
        file: Where the PNG goes.
        log: Records with ``timesteps`` and ``reward``, one per iteration.
        before, after: Measures on held-out prompts.
        measures: Measures to draw, as far as they are known: the reward and the quality.
        labels: Unit of the steps, and name of the reward.
    """
    figure = blank_figure()
    names = [name for name in measures if any(record.get(name) is not None for record in log)]
    shown = names or [name for name in measures if name in (before or {})] or ["reward"]
    for place, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        _draw_line(axes, log, name, "training texts")
        end = max((record["timesteps"] for record in log), default=1)
        for moment, known in ((0, before), (end, after)):
            if known and name in known:
                _draw_interval(axes, moment, known[name], label="held-out prompts, 95 %" if not moment else None)
        title = "Reward" if name == "reward" else "True quality" if name == "gold" else name
        finish_axes(
            axes, f"{title} through training", labels.unit, labels.of_reward if name == "reward" else _label(name)
        )
    save_figure(figure, file)


def plot_kl(file: Path, log: Sequence[Row], target: float | None = None, labels: Labels = PLAIN) -> None:
    """Draw the KL per text to the reference model (nats), by both estimates, against time steps."""
    figure = blank_figure()
    known = [*log[:-1], {**log[-1], "kl_target": target}] if log and target is not None else log
    _draw_kl(figure.add_subplot(), known, labels)
    save_figure(figure, file)


def plot_loss(
    file: Path,
    losses: Sequence[float],
    label: str,
    steps: Sequence[float] | None = None,
    *,
    chance: float | None = None,
    held_out: Sequence[tuple[float, float]] = (),
    title: str = "Training loss",
) -> None:
    """Draw a loss, and its running mean, against optimizer steps; by default there is a loss of every step.

    Args:
        file: Where the PNG goes.
        losses: The losses.
        label: Name of the losses, with their unit.
        steps: Step of each.
        chance: Loss of guessing.
        held_out: ``(step, loss)`` of examples that are not trained on.
        title: Title of the plot.
    """
    figure = blank_figure()
    axes = figure.add_subplot()
    line = "each step" if steps is None else "each record"
    steps = range(1, len(losses) + 1) if steps is None else steps
    marker = "o" if len(losses) <= _FEW_POINTS else ""
    axes.plot(steps, losses, color=_COLOURS["loss"], alpha=0.3, linewidth=1, label=line, marker=marker, markersize=4)
    axes.plot(steps, running_mean(losses, max(1, len(losses) // 20)), color=_COLOURS["loss"], label="running mean")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=_ORANGE, marker="s", markersize=5, label="held out")
    if chance is not None:
        axes.axhline(chance, linestyle=":", color=_GREY, label=f"chance ({chance:.3f})")
    finish_axes(axes, title, "optimizer steps", label)
    save_figure(figure, file)


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
    figure = blank_figure(width=12.6 if curve else 9.0)
    panels = figure.subplots(1, 3 if curve else 2, squeeze=False)[0]
    predicted, observed, counts = zip(*calibration, strict=True)
    panels[0].plot([0.5, 1], [0.5, 1], linestyle=":", color=_GREY, label="as often as predicted")
    areas = [10 + 190 * count / sum(counts) for count in counts]
    panels[0].scatter(predicted, observed, s=areas, color=_COLOURS["loss"])
    panels[0].plot(predicted, observed, color=_COLOURS["loss"], linewidth=1, label="observed (area: preferences)")
    panels[0].set_ylim(0, 1.02)
    finish_axes(panels[0], "Calibration", "predicted probability of the preferred text", "share that is preferred")
    for place, interval in enumerate(by_length.values()):
        _draw_interval(panels[1], place, interval, label=None if place else "95 % interval")
    panels[1].set_xticks(range(len(by_length)), list(by_length), fontsize=9)
    _draw_accuracy(panels[1], "Accuracy by length", ceiling, "words that the better text has more")
    if curve:
        panels[2].set_xscale("log")
        panels[2].plot([labels for labels, _ in curve], [each.mean for _, each in curve], color=_COLOURS["loss"])
        for labels, interval in curve:
            _draw_interval(panels[2], labels, interval, label=None)
        panels[2].set_xticks([labels for labels, _ in curve], [f"{labels:,}" for labels, _ in curve], fontsize=9)
        panels[2].minorticks_off()
        _draw_accuracy(panels[2], "Learning curve", ceiling, "records")
    save_figure(figure, file)


def _draw_accuracy(axes: Axes, title: str, ceiling: Interval | None, x_label: str) -> None:
    """Finish a panel of accuracies."""
    axes.axhline(0.5, linestyle=":", color=_GREY, label="chance (0.5)")
    if ceiling is not None:
        axes.axhline(ceiling.mean, linestyle="--", color=_COLOURS["metric"], label="people with each other")
    axes.set_ylim(0, 1.02)
    finish_axes(axes, title, x_label, "held-out accuracy")


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
    figure = blank_figure(height=6.4)
    reward, quality, wins, labels = figure.subplots(2, 2).flat
    for record in rounds[1:]:
        start, end = record["round"] - 1 + _APART, record["round"] - _APART
        ends = [(start, record["reward_before"]), (end, record["reward"])]
        _draw_means(reward, ends, _COLOURS["reward"])
    colour = _COLOURS.get(measure or "", _COLOURS["metric"])
    if measure is not None:
        _draw_means(quality, [(record["round"], record[measure]) for record in rounds], colour)
    wins.axhline(0.5, color=_GREY, linestyle=":", linewidth=1.4, label="even")
    by_quality = f"by {_label(measure or '')}, held-out prompts"
    _draw_wins(wins, rounds, "win_rate", colour if measure else "grey", by_quality, -_APART)
    _draw_wins(wins, rounds, "win_rate_by_votes", _VOTES, "by votes, training prompts", _APART)
    wins.set_ylim(0, 1)
    spent = [(record["labels"], record["accuracy"]) for record in rounds if record.get("accuracy")]
    _draw_means(labels, spent, _COLOURS["kl"])
    labels.axhline(0.5, color=_GREY, linestyle=":", linewidth=1.4, label="chance (0.5)")
    labels.set_xlim(0, 1.08 * rounds[-1]["labels"])
    for axes in (reward, quality, wins):
        axes.set_xticks([record["round"] for record in rounds])
        axes.set_xlim(-0.3, rounds[-1]["round"] + 0.3)
    finish_axes(reward, "Reward of each round, start to end", "round", "reward, of a model of its own")
    if measure is None:
        _note(quality, "true quality is not known")
    finish_axes(quality, "Quality on held-out prompts", "round", _label(measure or "quality"))
    finish_axes(wins, "Wins against the round before", "round", "win rate")
    finish_axes(labels, "Reward model", "labels spent", "held-out accuracy")
    save_figure(figure, file)


def plot_comparison(file: Path, means: Mapping[str, Mapping[str, Interval]]) -> None:
    """Draw the measures of several models, one panel each, with 95 % intervals.

    Args:
        file: Where the PNG goes.
        means: Name of a model -> measure -> mean with its interval, the first model on top.
    """
    names, measures = list(means), list(dict.fromkeys(each for found in means.values() for each in found))
    columns = min(3, len(measures))
    rows = -(-len(measures) // columns)
    figure = blank_figure(height=rows * (1.4 + 0.3 * len(names)), width=3.6 * columns + 1.0)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, measure in zip(panels.flat, measures, strict=False):
        for place, name in enumerate(names):
            interval = means[name].get(measure)
            if interval is not None:
                widths = [[_width(interval._asdict(), side)] for side in ("low", "high")]
                axes.errorbar([interval.mean], [place], xerr=widths, fmt="o", color=_COLOURS["reward"], capsize=4)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        finish_axes(axes, _label(measure), "mean, 95 % interval", "")
    for axes in panels.flat[len(measures) :]:
        axes.set_visible(False)
    save_figure(figure, file)


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


def blank_figure(height: float = 4.2, width: float = 9.0) -> Figure:
    """Return a figure of so many inches, which a notebook shows as the last line of a cell."""
    from textgym.figures import NotebookFigure  # lazy: a second to import, and only runs that end need it

    return NotebookFigure(figsize=(width, height), dpi=110, layout="constrained")


def _label(name: str) -> str:
    return _LABELS.get(name, name)


def _draw_line(
    axes: Axes, log: Sequence[Row], name: str, label: str, colour: str | None = None, linestyle: str = "-"
) -> None:
    """Draw a number of the records, with a marker for each where there are few; a constant one says what it is."""
    points = [(record["timesteps"], record[name]) for record in log if record.get(name) is not None]
    if not points:
        return
    steps, values = zip(*points, strict=True)
    colour = _COLOURS.get(name, _GREEN) if colour is None else colour
    marker = "o" if len(points) <= _FEW_POINTS else ""
    axes.plot(steps, values, color=colour, linewidth=1.6, linestyle=linestyle, marker=marker, markersize=4, label=label)
    if len(points) > 1 and max(values) - min(values) <= 1e-9 * max(1.0, abs(values[0])):
        low, high = values[0] - max(0.5, abs(values[0]) / 2), values[0] + max(0.5, abs(values[0]) / 2)
        axes.set_ylim(low, high)
        _note(axes, f"all {len(points)} values are {values[0]:.4g}", 0.62)


def _note(axes: Axes, text: str, height: float = 0.5) -> None:
    """Write what there is to say of a plot without a shape into its middle."""
    axes.text(0.5, height, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)


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
    return abs(mean - bound) if mean is not None and bound is not None and math.isfinite(bound) else 0.0


def finish_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Give axes their title, labels, grid and legend; without data, they say so."""
    if not axes.has_data() and not axes.texts:
        _note(axes, "no values yet")
    if axes.get_xscale() == "linear" and max(map(abs, axes.get_xlim())) >= 10_000:
        axes.locator_params(axis="x", nbins=_FEW_TICKS)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(framealpha=0.6, edgecolor="none", fontsize=9)  # what it covers shows through


def save_figure(figure: Figure, file: Path) -> None:
    """Write a PNG file in one step: whoever looks at it while it is drawn again sees the old one or the new one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with replacing(file) as unfinished:
        FigureCanvasAgg(figure).print_png(str(unfinished))
