"""What the demo says about its own figures: the documented ones, and why length alone may do well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textgym.reward_models.report import FitReport, HeldOut, LengthBin
from textgym.rlhf.demo import CEILING, DOCUMENTED, remarks, run_demo
from textgym.rlhf.settings import DemoSettings
from textgym.training import curves
from textgym.training.callbacks import RunCallback
from textgym.types import Interval

ROOT = Path(__file__).resolve().parents[2]


def report(accuracy: float, shorter: float) -> FitReport:
    half = Interval(0.5, 0.4, 0.6)
    rules = {"always_longer": half._replace(mean=1 - shorter), "always_shorter": half._replace(mean=shorter)}
    held_out = HeldOut({}, **rules, by_length=(LengthBin(0, 1, half, 9),), agreement=None, worst=(), notes=())
    return FitReport(Interval(accuracy, 0.5, 0.9), 0.6, None, 100, 20, 1.0, held_out=held_out)


def test_the_documented_accuracy_is_printed_and_is_documented() -> None:
    (text,) = remarks(report(0.68, 0.57), DemoSettings(out="somewhere"))
    assert "docs/demo.md has an accuracy of 0.72 [0.63, 0.80] for this command" in text
    page = " ".join((ROOT / "docs" / "demo.md").read_text(encoding="utf-8").split())
    documented = (
        f"Held-out accuracy of the reward model: {DOCUMENTED.mean:.2f} [{DOCUMENTED.low:.2f}, {DOCUMENTED.high:.2f}]"
    )
    assert documented in page
    assert f"the annotator's noise caps it at {CEILING}" in page


def test_other_settings_have_no_documented_accuracy() -> None:
    for changed in ({"pairs": 30}, {"seed": 1}, {"reward_epochs": 2}):
        assert remarks(report(0.68, 0.57), replace(DemoSettings(), **changed)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(("accuracy", "explained"), [(0.55, True), (0.57, True), (0.58, False)])
def test_a_rule_that_looks_at_length_is_explained(accuracy: float, explained: bool) -> None:
    said = remarks(report(accuracy, 0.57), DemoSettings(seed=1))
    assert [("length alone is right 57% of the time is how these reports are made" in text) for text in said] == (
        [True] if explained else []
    )


def test_nothing_held_out_needs_no_remark() -> None:
    assert remarks(FitReport(Interval(0.5, 0, 1), 0.6, None, 100, 0, 1.0), DemoSettings(seed=1)) == []


def test_the_demo_draws_its_curves_while_it_trains(
    lm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(curves, "_FIRST", 0.0)
    seen: list[bool] = []
    start = RunCallback._on_rollout_start

    def looks(self: Any) -> None:
        start(self)
        seen.append(Path("d/curves.png").is_file())

    monkeypatch.setattr(RunCallback, "_on_rollout_start", looks)
    run = run_demo(DemoSettings(model=lm, pairs=30, iterations=2, n_envs=4, eval_prompts=6, out="d"))
    assert seen == [False, True]
    shown = " ".join(capsys.readouterr().out.split())
    assert "while PPO trains, look at d/curves.png" in shown
    assert {"reward/d", "reward/d_raw"} <= set(run.log()[0])  # called by its run, and not "learned"
