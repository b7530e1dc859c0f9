"""Charts as SVG marks, which a template draws: the page's style colours them, and texts in them are only texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from textgym.types import Interval

_WIDTH, _HEIGHT = 520.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 40.0
_ROW = 26.0
_LABELS = 150.0
_LONGEST_LABEL = 22
_DARKEST_CELL = 0.44  # numbers in cells can be read in both colour schemes
_SERIES = 4  # as many as the style has colours for

_MOST = 1e300  # no sum, difference or multiple that is drawn overflows

Points = Sequence[tuple[float, float]]


class Mark(NamedTuple):
    """One SVG element.

    Attributes:
        tag: Its name.
        attrs: Its attributes.
        text: Text inside the element.
        hint: Text shown when one points at it.
    """

    tag: str
    attrs: Mapping[str, str | float]
    text: str = ""
    hint: str = ""


class Chart(NamedTuple):
    """A drawing: what it shows in words, its size, and its marks."""

    title: str
    width: float
    height: float
    marks: Sequence[Mark]


class Scale(NamedTuple):
    """A linear map from values to places: ``low`` lies at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value lies, inside the chart; what is no number lies at the start."""
        inside = min(max(value, self.low), self.high) if not math.isnan(value) else self.low
        share = (inside - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(
    title: str,
    series: Mapping[str, Points],
    x_label: str,
    bounds: tuple[float, float] | None = None,
    intervals: Sequence[tuple[float, Interval]] = (),
) -> Chart:
    """Draw lines.

    Args:
        title: Title of the chart.
        series: Points by name, at least one, from left to right; those that are not finite are left out.
        x_label: Label of the horizontal axis.
        bounds: Lowest and highest value shown; by default from 0 to the highest there is.
        intervals: Drawn as upright bars at their places.
    """
    series = {name: _finite_points(each) for name, each in series.items()}
    intervals = [(at, each) for at, each in intervals if math.isfinite(at)]
    points = [point for each in series.values() for point in each]
    low, high = map(_bounded, bounds or (0.0, max([value for _, value in points], default=1.0)))
    last = max([place for place, _ in points], default=1.0)
    x = Scale(0.0, last if last > 0 else 1.0, _LEFT, _WIDTH - _RIGHT)
    top = _TOP if len(series) == 1 else 2 * _TOP + 4  # below the legend
    y = Scale(low, high if high > low else low + 1, _HEIGHT - _BOTTOM, top)
    marks = [*_grid(x, y), _text(_WIDTH - _RIGHT, _HEIGHT - 6, x_label, "end")]
    marks += [_line(x(at), y(each.low), x(at), y(each.high), "interval series-1") for at, each in intervals]
    for number, (name, each) in enumerate(series.items()):
        style = f"series-{number % _SERIES + 1}"
        path = " ".join(f"{x(place)},{y(value)}" for place, value in each)
        marks.append(Mark("polyline", {"points": path, "class": f"line {style}"}))
        if len(each) <= 30:
            marks += [_dot(x(place), y(value), style, f"{name}: {value:.3g} at {place:g}") for place, value in each]
    if len(series) > 1:
        marks += _legend(list(series))
    return Chart(title, _WIDTH, _HEIGHT, marks)


def bar_chart(title: str, rows: Sequence[tuple[str, float]], unit: str = "") -> Chart:
    """Draw one lying bar per row, with its value."""
    x = Scale(0.0, max([_bounded(value) for _, value in rows] + [1e-9]), _LABELS, _WIDTH - 70)
    marks = []
    for place, (name, value) in enumerate(rows):
        top = place * _ROW + 4
        width = round(max(x(value) - _LABELS, 1.0), 1)
        marks.append(_label(top, name))
        marks.append(
            Mark("rect", {"x": _LABELS, "y": top, "width": width, "height": _ROW - 8, "rx": 3, "class": "bar"})
        )
        marks.append(_text(x(value) + 6, top + 14, f"{value:.4g}{unit}"))
    return Chart(title, _WIDTH, len(rows) * _ROW + 4, marks)


def interval_chart(
    title: str, rows: Sequence[tuple[str, Interval]], reference: float, bounds: tuple[float, float] | None = None
) -> Chart:
    """Draw means with their intervals, one per row, and a line where ``reference`` is."""
    finite = [_bounded(value) for _, each in rows for value in each if math.isfinite(value)]
    low, high = bounds or (min([*finite, reference]), max([*finite, reference]))
    x = Scale(low, high if high > low else low + 1, _LABELS, _WIDTH - 120)
    bottom = len(rows) * _ROW + 4
    marks = [_line(x(reference), 0, x(reference), bottom, "reference")]
    marks += [_text(x(value), bottom + 14, f"{value:.3g}", "middle") for value in sorted({low, reference, high})]
    for place, (name, each) in enumerate(rows):
        middle = place * _ROW + 4 + (_ROW - 8) / 2
        marks.append(_label(middle - 9, name))
        marks.append(_line(x(each.low), middle, x(each.high), middle, "interval series-1"))
        marks.append(_dot(x(each.mean), middle, "series-1", f"{each.mean:.3g} [{each.low:.3g}, {each.high:.3g}]"))
        shown = f"{_decimal(each.mean)} [{_decimal(each.low)}, {_decimal(each.high)}]"
        marks.append(_text(_WIDTH - 4, middle + 5, shown, "end", "small"))
    return Chart(title, _WIDTH, bottom + 20, marks)


def histogram_chart(title: str, values: Sequence[float], x_label: str, bins: int = 24) -> Chart:
    """Draw how often values of 0 or more occur, from 0 to the 98 % quantile; what is above is in the last bin."""
    values = sorted(min(max(value, 0.0), _MOST) for value in values if not math.isnan(value))
    top = values[int(0.98 * (len(values) - 1))] if values else 1.0
    top = top if top >= 1 / _MOST else 1.0
    counts = [0] * bins
    for value in values:
        counts[int(min(value / top * bins, bins - 1))] += 1
    x, y = Scale(0.0, top, _LEFT, _WIDTH - _RIGHT), Scale(0.0, max([*counts, 1]), _HEIGHT - _BOTTOM, _TOP)
    width = (x.end - x.start) / bins
    marks = [*_grid(x, y), _text(_WIDTH - _RIGHT, _HEIGHT - 6, x_label, "end")]
    for place, count in enumerate(counts):
        box = {"x": round(x.start + place * width + 1, 1), "y": y(count), "width": round(width - 2, 1)}
        hint = f"{count} from {place * top / bins:.3g} to {(place + 1) * top / bins:.3g}"
        marks.append(Mark("rect", {**box, "height": round(y.start - y(count), 1), "class": "bar"}, hint=hint))
    return Chart(title, _WIDTH, _HEIGHT, marks)


def matrix_chart(title: str, names: Sequence[str], cells: Mapping[tuple[int, int], Interval]) -> Chart:
    """Draw shares in a square: how often the generator of the row beat that of the column; darker is more often."""
    side = min(64.0, (_WIDTH - _LABELS) / max(len(names), 1))
    top = 26.0
    marks = []
    for row, name in enumerate(names):
        marks.append(_label(top + row * side + side / 2 - 10, f"{row + 1}. {name}"))
        marks.append(_text(_LABELS + (row + 0.5) * side, 16, f"{row + 1}.", "middle"))
    for (row, column), share in cells.items():
        x, y = _LABELS + column * side, top + row * side
        hint = f"{names[row]} beats {names[column]}: {share.mean:.0%} [{share.low:.0%}, {share.high:.0%}]"
        box: dict[str, str | float] = {
            "x": x + 1,
            "y": y + 1,
            "width": side - 2,
            "height": side - 2,
            "rx": 4,
            "class": "cell",
        }
        marks.append(Mark("rect", {**box, "fill-opacity": round(0.06 + _DARKEST_CELL * share.mean, 3)}, hint=hint))
        marks.append(_text(x + side / 2, y + side / 2 + 5, f"{share.mean:.0%}", "middle", "number"))
    return Chart(title, _WIDTH, top + len(names) * side + 4, marks)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between two, at most about so many.

    >>> ticks(0, 47)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    raw = max((high - low) / most, 1 / _MOST)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _finite_points(points: Points) -> list[tuple[float, float]]:
    finite = ((place, value) for place, value in points if math.isfinite(place) and math.isfinite(value))
    return [(_bounded(place), _bounded(value)) for place, value in finite]


def _bounded(value: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, -_MOST), _MOST)


def _decimal(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.2g}"


def _grid(x: Scale, y: Scale) -> list[Mark]:
    marks = []
    for value in ticks(y.low, y.high):
        marks.append(_line(x.start, y(value), x.end, y(value), "grid"))
        marks.append(_text(x.start - 6, y(value) + 4, f"{value:g}", "end"))
    marks += [_text(x(value), y.start + 16, f"{value:g}", "middle") for value in ticks(x.low, x.high, 6)]
    return marks


def _legend(names: Sequence[str]) -> list[Mark]:
    marks = []
    for number, name in enumerate(names):
        x, y = _LEFT + 8 + 120 * number, 12
        marks.append(
            Mark("rect", {"x": x, "y": y - 9, "width": 10, "height": 10, "class": f"dot series-{number % _SERIES + 1}"})
        )
        marks.append(_text(x + 14, y, _short(name)))
    return marks


def _label(top: float, name: str) -> Mark:
    return Mark("text", {"x": _LABELS - 8, "y": top + 14, "text-anchor": "end"}, _short(name), name)


def _short(name: str) -> str:
    """Return the end of a long name, which tells runs and models apart."""
    return name if len(name) <= _LONGEST_LABEL else f"…{name[1 - _LONGEST_LABEL :]}"


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> Mark:
    return Mark("text", {"x": round(x, 1), "y": round(y, 1), "text-anchor": anchor, "class": style}, text)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Mark:
    return Mark("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": style})


def _dot(x: float, y: float, style: str, hint: str) -> Mark:
    return Mark("circle", {"cx": x, "cy": y, "r": 4, "class": f"dot {style}"}, hint=hint)
