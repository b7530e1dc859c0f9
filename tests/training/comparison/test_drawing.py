"""Plots of a comparison: which panels there are, and what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.comparison.records_made_up import compared, evaluated, made_up
from textgym.pages import svg_of
from textgym.training.comparison.drawing import draw_curves, draw_ends, draw_panel, panels_of

pytestmark = pytest.mark.plots

RUNS = [made_up("ppo", seed, (0.2, 0.4 + seed / 10, 0.8)) for seed in range(3)]


def test_panels_are_those_with_curves() -> None:
    assert panels_of(compared(*RUNS)) == [("reward", "tokens"), ("reward", "seconds")]
    assert panels_of(compared(evaluated("random", 0, 0.1))) == []


def test_a_curve_has_a_line_and_a_band_and_a_name(tmp_path: Path) -> None:
    comparison = compared(*RUNS, evaluated("random", 0, 0.1))
    figure = draw_curves(comparison, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    axes, _ = figure.axes
    line, level = axes.get_lines()
    curve = comparison.curve("reward", "ppo", "tokens")
    assert curve is not None
    assert np.allclose(np.asarray(line.get_ydata()), curve.mean)
    assert np.allclose(np.asarray(level.get_ydata()), 0.1)
    assert len(axes.collections) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ppo", "random (learns nothing)"]
    assert axes.get_legend() is None


def test_ten_agents_have_ten_styles() -> None:
    comparison = compared(*(made_up(f"a{place}", 0, (0.1, 0.2 + place / 100)) for place in range(10)))
    lines = draw_panel(comparison, panels_of(comparison)[0]).axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_ends_have_intervals_where_they_are_known() -> None:
    figure = draw_ends(compared(*RUNS, evaluated("random", 0, 0.1)), ["reward", "kl"])
    assert [axes.get_title() for axes in figure.axes] == ["reward", "KL, nats per text"]
    assert figure.axes[0].get_lines()[0].get_xdata() == pytest.approx([0.8])


def test_the_same_figure_is_the_same_text() -> None:
    comparison = compared(*RUNS)
    first, second = (svg_of(draw_panel(comparison, panels_of(comparison)[0])) for _ in range(2))
    assert first == second
    assert "<text" not in first  # letters are drawn: no font is needed
