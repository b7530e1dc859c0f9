"""Curves that are drawn while a run trains: soon, and never for more than a fiftieth of the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from textgym.envs.choice import EnvChoice
from textgym.training import curves
from textgym.training.callbacks import RunCallback
from textgym.training.curves import LiveCurves
from textgym.training.run_folder import RunFolder
from textgym.training.train import run_train
from textgym.training.train_settings import train_settings

pytestmark = pytest.mark.plots


class Clock:
    """Seconds that tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_drawing_takes_a_fiftieth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, drawn = Clock(), list[float]()

    def draws(*args: object, **options: object) -> None:
        drawn.append(clock.now)
        clock.now += 0.5

    monkeypatch.setattr(curves, "plot_history", draws)
    live = LiveCurves(RunFolder.create(tmp_path / "run", "train", {}), "title", clock=clock)
    while clock.now < 100:
        live.update()
        clock.now += 1.0
    assert drawn == [5.0, 30.5, 56.0, 81.5]  # the first after 5 s, and 25 s after each, which took half a second


def test_a_plot_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(curves, "plot_history", fails)
    live = LiveCurves(RunFolder.create(tmp_path / "run", "train", {}), "title")
    live.draw()
    live.draw()
    assert capsys.readouterr().err.count("a plot could not be written (no room)") == 1


def test_the_curves_are_there_before_the_run_is_over(lm: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = train_settings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        model=lm, reward="rouge", steps=3 * 48, n_envs=6, n_steps=8, batch_size=16, max_new_tokens=8, eval_prompts=2,
        save_every=1, out="run",
    )  # fmt: skip
    monkeypatch.setattr(curves, "_FIRST", 0.0)
    seen: list[tuple[int, bool]] = []
    start = RunCallback._on_rollout_start

    def looks(self: RunCallback) -> None:
        start(self)
        seen.append((self.num_timesteps, Path("run/curves.png").is_file()))

    monkeypatch.setattr(RunCallback, "_on_rollout_start", looks)
    run = run_train(settings)
    assert seen == [(0, False), (48, True), (96, True)]
    assert (run.path / "curves.png").read_bytes().startswith(b"\x89PNG")
