"""Plots: they are written whatever the log holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from textgym import plots
from textgym.plots import (
    CHANCE,
    Labels,
    plot_history,
    plot_kl,
    plot_learning,
    plot_loss,
    plot_panels,
    plot_reward_report,
    plot_rounds,
    running_mean,
)
from textgym.types import Interval

pytestmark = pytest.mark.plots

LOG: list[dict[str, Any]] = [
    {"timesteps": 10, "reward": 0.1, "gold": None, "kl": 0.0},
    {"timesteps": 20, "reward": 0.2, "gold": 0.3, "kl": 1.5},
]


def is_png(file: Path) -> bool:
    return file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 1000


def test_running_mean() -> None:
    assert running_mean([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]
    assert running_mean([5], 10) == [5]
    assert running_mean([], 3) == []


@pytest.mark.parametrize("log", [LOG, LOG[:1], []])
def test_every_log_gives_plots(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    measures = {"reward": Interval(0.1, 0.0, 0.2), "gold": Interval(0.5, -math.inf, math.inf)}
    plot_learning(tmp_path / "curve.png", log, measures, measures)
    plot_learning(tmp_path / "bare.png", log)
    plot_kl(tmp_path / "kl.png", log, target=2.0)
    assert all(is_png(tmp_path / name) for name in ("curve.png", "bare.png", "kl.png"))


@pytest.mark.parametrize("losses", [[], [1.0], [3.0, 2.0, 1.0] * 20])
def test_losses(tmp_path: Path, losses: list[float]) -> None:
    plot_loss(tmp_path / "loss.png", losses, "loss")
    assert is_png(tmp_path / "loss.png")


def share(mean: float) -> dict[str, float | None]:
    return {"mean": mean, "low": mean - 0.1, "high": None}


@pytest.mark.parametrize("measure", ["gold", "rougeL", "length"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds(tmp_path: Path, measure: str, rounds: int) -> None:
    records: list[dict[str, Any]] = [{"round": 0, "labels": 0, "reward": share(0), measure: share(0.3)}]
    for number in range(1, rounds + 1):
        known = {name: share(0.5) for name in ("reward_before", "reward", measure, "accuracy")}
        wins = {"win_rate": share(0.6) if measure != "length" else None, "win_rate_by_votes": share(0.7)}
        records.append({"round": number, "labels": 10 * number, **known, **wins})
    del records[-1]["win_rate_by_votes"]
    plot_rounds(tmp_path / "rounds.png", records, measure if measure != "length" else None)
    assert is_png(tmp_path / "rounds.png")


# ------------------------------------------------------------------- what is drawn
@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of the figures that are saved."""
    saved: list[Any] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, file: saved.extend(figure.axes))
    return saved


FILE = Path("nowhere.png")
ROUNDS: list[dict[str, Any]] = [
    {"round": 0, "labels": 0, "gold": share(0.3)},
    {"round": 1, "labels": 10, **{name: share(0.5) for name in ("reward_before", "reward", "gold", "accuracy")}},
]
PREFERENCES: list[dict[str, Any]] = [
    {
        "timesteps": 10,
        "loss": 0.6,
        "accuracy": 0.7,
        "reward_chosen": 0.1,
        "log_prob_chosen": -9,
        "log_prob_rejected": -8,
    }
]
REPORT = ([(0.6, 0.55, 20), (0.8, 0.7, 20)], {"-3 to 0": Interval(0.6, 0.5, 0.7)}, [(40, Interval(0.6, 0.5, 0.7))])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_learning(FILE, LOG, {"reward": Interval(0, 0, 0)}),
        lambda: plot_learning(FILE, []),
        lambda: plot_kl(FILE, LOG),
        lambda: plot_loss(FILE, [1.0, 2.0], "loss, nats"),
        lambda: plot_reward_report(FILE, *REPORT),
        lambda: plot_rounds(FILE, ROUNDS, "gold"),
        lambda: plot_rounds(FILE, ROUNDS),
        lambda: plot_history(LOG, FILE),
        lambda: plot_history([], FILE),
        lambda: plot_history(PREFERENCES, FILE),
    ],
)
def test_every_plot_has_titles_and_labels(drawn: list[Any], draw: Any) -> None:
    draw()
    assert drawn
    assert all(axes.get_title() and axes.get_xlabel() and axes.get_ylabel() for axes in drawn)


def test_panels_are_those_of_the_sheet() -> None:
    sheet = plot_history(LOG)
    panels = plot_panels(LOG, Labels("tokens"))
    titles = [axes.get_title() for axes in sheet.axes]
    assert [figure.axes[0].get_title() for figure in panels] == titles
    assert {figure.axes[0].get_xlabel() for figure in panels} == {"tokens"}
    assert len(plot_panels([])) == 1


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines}


def test_chance_and_held_out_loss_stand_beside_the_loss(drawn: list[Any]) -> None:
    plot_loss(FILE, [0.7, 0.6], "loss, nats", chance=CHANCE, held_out=[(1, 0.69), (2, 0.65)])
    found = lines(drawn[0])
    assert list(found["chance (0.693)"].get_ydata()) == [math.log(2)] * 2
    assert list(found["held out"].get_ydata()) == [0.69, 0.65]
    assert list(found["held out"].get_xdata()) == [1, 2]


def test_chance_stands_in_every_plot_of_accuracies(drawn: list[Any]) -> None:
    plot_reward_report(FILE, *REPORT)
    for axes in drawn[1:]:
        assert list(lines(axes)["chance (0.5)"].get_ydata()) == [0.5] * 2


def test_both_estimates_of_the_kl_are_drawn(drawn: list[Any]) -> None:
    log = [{"timesteps": step, "kl": -0.1 * step, "kl_k3": 0.1 * step} for step in (1, 2)]
    plot_kl(FILE, log, target=3.0)
    (axes,) = drawn
    assert [list(line.get_ydata()) for line in axes.lines] == [[-0.1, -0.2], [0.1, 0.2], [3.0, 3.0]]


def test_what_is_learned_from_preferences_has_panels_of_its_own(drawn: list[Any]) -> None:
    plot_history(PREFERENCES, FILE)
    titles = ["Accuracy on training feedback", "Implied rewards", "Log-probability of responses"]
    assert [axes.get_title() for axes in drawn] == titles
    assert [list(lines(axes)) for axes in drawn[1:]] == [["chosen"], ["chosen", "rejected"]]


def test_a_constant_reward_is_no_empty_plot(drawn: list[Any]) -> None:
    log = [{"timesteps": 10 * step, "reward": 0.0} for step in range(1, 6)]
    plot_learning(FILE, log, labels=Labels("tokens", "rougeL"))
    (axes,) = drawn
    assert [text.get_text() for text in axes.texts] == ["all 5 values are 0"]
    low, high = axes.get_ylim()
    assert low < 0 < high
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens", "reward: rougeL")


def test_a_single_iteration_can_be_seen(drawn: list[Any]) -> None:
    plot_history(LOG[:1], FILE)
    assert all(line.get_marker() == "o" for axes in drawn for line in axes.lines)


def test_no_iteration_says_so(drawn: list[Any]) -> None:
    plot_learning(FILE, [])
    assert [text.get_text() for text in drawn[0].texts] == ["no values yet"]


def test_the_share_of_finished_texts_counts_those_that_were_not_cut(drawn: list[Any]) -> None:
    log = [{"timesteps": 1, "eos": 0.2, "cut": 0.3}, {"timesteps": 2, "eos": 0.4}]  # the other half met a stop string
    plot_history(log, FILE)
    assert list(drawn[0].lines[0].get_ydata()) == [0.7, 0.4]


@pytest.mark.parametrize(
    ("known", "label"),
    [
        ({"reward": 1.0, "reward/total": 1.0, "reward/helpful": 1.0, "reward/helpful_raw": 3.0}, "reward: helpful"),
        ({"reward": 1.0, "reward/total": 1.0, "reward/a": 1.0, "reward/b": 3.0}, "reward"),
        ({"reward": 1.0}, "reward"),
    ],
)
def test_a_reward_is_called_by_its_own_name(drawn: list[Any], known: dict[str, float], label: str) -> None:
    plot_history([{"timesteps": 1, **known}], FILE)
    assert drawn[0].get_ylabel() == label


def test_a_plot_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at it while it is drawn again sees the one of before."""
    file = tmp_path / "curves.png"
    plot_history(LOG, file)
    before = file.read_bytes()

    def breaks(self: Any, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no more")

    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.print_png", breaks)
    with pytest.raises(OSError, match="no more"):
        plot_history(LOG[:1], file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
