"""The plots of a comparison: learning curves with bands, and the measures at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textgym.plots import blank_figure, finish_axes, save_figure
from textgym.training.comparison.budget import KINDS, Kind
from textgym.training.comparison.results import TITLES, Comparison
from textgym.types import Interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which all eyes tell apart on white, without yellow; then the same again with other lines.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_LINES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX"
_AXES: dict[Kind, str] = {
    "tokens": "tokens of training",
    "seconds": "seconds of training",
    "labels": "texts scored, or labels learned from",
}
_VALUES = {
    "reward": ("Reward of held-out texts", "reward"),
    "gold": ("True quality, which nothing learns from", "gold"),
    "training/reward": ("Reward of training texts", "reward"),
    "training/kl": ("KL of training texts to the reference", "nats per text"),
    "length": ("Length of held-out texts", "tokens"),
}
_WIDTH, _HEIGHT = 5.4, 4.1  # inches of a panel
_MARKS = 10  # of a line
_SHADE = 0.15  # of an interval
_FEW = 6  # agents, whose intervals can be told apart; those of more are fainter


class Panel(NamedTuple):
    """A plot of one measure against one kind of budget."""

    measure: str
    kind: Kind

    @property
    def title(self) -> str:
        """The title of the plot."""
        return _VALUES[self.measure][0]


def panels_of(comparison: Comparison) -> list[Panel]:
    """Return the plots that there is something to draw in, the one of the reward against the budget first."""
    kinds = [comparison.kind, *(kind for kind in KINDS[:2] if kind != comparison.kind)]
    wanted = [Panel("reward", kind) for kind in kinds]
    wanted += [Panel(measure, kinds[0]) for measure in _VALUES if measure not in ("reward", "training/reward")]
    found = [each for each in wanted if _has_curves(comparison, each)]
    if any(each.measure == "reward" for each in found):
        return found
    # Runs that were not measured on their way have what they noted of their own texts.
    noted = [Panel("training/reward", kind) for kind in kinds]
    return [*(each for each in noted if _has_curves(comparison, each)), *found]


def draw_curves(comparison: Comparison, file: str | Path | None = None) -> Figure:
    """Draw the learning curves with bands; a notebook shows the figure where it is the last line of a cell.

    Args:
        comparison: The finished runs.
        file: Where the figure goes too, as a PNG file; ``None`` for nowhere.
    """
    panels = panels_of(comparison) or [Panel("reward", comparison.kind)]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = blank_figure(height=rows * _HEIGHT, width=columns * _WIDTH)
    for place, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(rows, columns, place), comparison, panel)
    _name_lines(figure, 2 * columns)
    if file is not None:
        save_figure(figure, Path(file))
    return figure


def draw_panel(comparison: Comparison, panel: Panel) -> Figure:
    """Draw one panel, as a figure of its own."""
    figure = blank_figure(height=_HEIGHT, width=_WIDTH)
    _draw(figure.add_subplot(), comparison, panel)
    _name_lines(figure, 3)
    return figure


def draw_ends(comparison: Comparison, measures: Sequence[str]) -> Figure:
    """Draw the means at the end with their intervals, a panel for each measure, the best agent on top."""
    labels = comparison.ranked
    figure = blank_figure(height=1.3 + 0.36 * len(labels), width=3.4 * len(measures) + 1.0)
    all_axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(all_axes, measures, strict=True):
        for place, label in enumerate(labels):
            found = comparison.after(measure, label)
            if found is not None:
                colour, _, marker = _style(comparison, label)
                axes.errorbar([found.mean], [place], xerr=_widths(found), fmt=marker, color=colour, capsize=4)
        start = comparison.start(measure)
        if start is not None:
            axes.axvline(start.mean, color="#6b6b6b", linestyle=":", linewidth=1.4, label="start model")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        finish_axes(axes, TITLES.get(measure, measure), "interquartile mean, 95 % interval", "")
    return figure


def _draw(axes: Axes, comparison: Comparison, panel: Panel) -> None:
    shade = _SHADE * min(1.0, _FEW / len(comparison.labels))
    for label in comparison.labels:
        colour, line, marker = _style(comparison, label)
        curve = comparison.curve(panel.measure, label, panel.kind)
        if curve is None:
            _draw_level(axes, comparison.after(panel.measure, label), label, colour)
            continue
        every = max(1, len(curve.spent) // _MARKS)
        axes.fill_between(curve.spent, curve.low, curve.high, color=colour, alpha=shade, linewidth=0)
        axes.plot(
            *(curve.spent, curve.mean, line),
            color=colour, linewidth=1.7, marker=marker, markersize=4.5, markevery=every, label=label,
        )  # fmt: skip
    title, y_label = _VALUES[panel.measure]
    finish_axes(axes, title, _AXES[panel.kind], y_label)


def _name_lines(figure: Figure, columns: int) -> None:
    """Put one legend for all panels below them, where it covers no line; of one agent's lines, the last panel's."""
    named: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _draw_level(axes: Axes, found: Interval | None, label: str, colour: str) -> None:
    """Draw an agent that has no curve, because it learns nothing, as a level."""
    if found is not None:
        axes.axhline(found.mean, color=colour, linestyle=(0, (6, 3)), linewidth=1.3, label=f"{label} (learns nothing)")


def _has_curves(comparison: Comparison, panel: Panel) -> bool:
    return any(comparison.has_curve(panel.measure, label, panel.kind) for label in comparison.labels)


def _style(comparison: Comparison, label: str) -> tuple[str, str, str]:
    """Return colour, line and marker of an agent, which are the same in all plots."""
    place = comparison.labels.index(label)
    turn, number = divmod(place, len(_COLOURS))
    return _COLOURS[number], _LINES[turn % len(_LINES)], _MARKERS[number]


def _widths(found: Interval) -> list[list[float]]:
    """Return the lengths of error bars to both sides; none where a bound is not known."""
    sides = (found.mean - found.low, found.high - found.mean)
    return [[side if side < float("inf") else 0.0] for side in sides]
