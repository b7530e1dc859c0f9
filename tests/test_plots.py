"""Plots: they are written whatever the log holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from textgym.plots import plot_kl, plot_learning, plot_loss, plot_rounds, running_mean
from textgym.types import Interval

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
