"""Progress: estimates of the time left, and lines that fit every terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from rich.cells import cell_len
from rich.console import Console

from textgym import console
from textgym.progress import Pace, line_of

WIDTHS = (20, 40, 50, 80, 120)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def steady(step: int) -> float:
    return 1.0


def warming_up(step: int) -> float:
    return {0: 30.0, 1: 3.0}.get(step, 1.0)


def with_evaluations(step: int) -> float:
    return 6.0 if step % 10 == 9 else 1.0


def warming_up_with_evaluations(step: int) -> float:
    return 20.0 if step == 0 else with_evaluations(step)


def getting_slower(step: int) -> float:
    return 1.0 + step / 100


def estimates(seconds: Callable[[int], float], steps: int = 100, amount: float = 1.0) -> Iterator[tuple[float, float]]:
    """Estimated and true seconds left after every step but the last, where there is an estimate."""
    clock = Clock()
    pace = Pace(steps * amount, clock)
    for step in range(steps - 1):
        clock.now += seconds(step)
        pace.advance(amount)
        left = pace.seconds_left()
        if left is not None:
            yield left, sum(map(seconds, range(step + 1, steps)))


@pytest.mark.parametrize("amount", [1.0, 768.0])
@pytest.mark.parametrize("seconds", [steady, warming_up, with_evaluations, warming_up_with_evaluations, getting_slower])
def test_estimates_are_within_a_factor_of_two(seconds: Callable[[int], float], amount: float) -> None:
    found = list(estimates(seconds, amount=amount))
    assert len(found) == 97  # all but the first two, and the end
    if "evaluations" in seconds.__name__:
        found = found[:-10]  # whether one more evaluation comes, no clock can tell
    assert [(left, right) for left, right in found if not right / 2 <= left <= right * 2] == []


def test_the_estimate_of_steady_work_is_exact_and_runs_down_between_steps() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    for _ in range(4):
        clock.now += 2.0
        pace.advance(1)
    assert pace.seconds_left() == pytest.approx(12.0)
    clock.now += 1.5
    assert pace.seconds_left() == pytest.approx(10.5)
    clock.now += 1000.0
    assert pace.seconds_left() == 0.0
    assert (pace.share, pace.done, pace.total) == (0.4, 4.0, 10)


def test_it_is_too_early_for_an_estimate_at_first() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.seconds_left() is None
    clock.now += 30.0
    pace.advance(1)
    assert pace.seconds_left() is None


def test_long_works_are_remembered_in_few_points() -> None:
    clock = Clock()
    pace = Pace(100_000, clock)
    for _ in range(50_000):
        clock.now += 0.01
        pace.advance(1)
    assert len(pace._done) <= 256
    assert pace.seconds_left() == pytest.approx(500.0)


@pytest.mark.parametrize("seconds", [steady, warming_up, with_evaluations])
def test_estimates_of_iterations_of_several_parts_are_within_a_factor_of_two(seconds: Callable[[int], float]) -> None:
    """Sampling takes a fifth of an iteration and half of its units, the update the rest; both stop and start."""
    clock, steps, found = Clock(), 60, []
    pace = Pace(100.0 * steps, clock, in_iterations=True)
    for step in range(steps - 1):
        for _ in range(50):
            clock.now += 0.2 * seconds(step) / 50
            pace.advance(1)
            left = pace.seconds_left()
            true = sum(map(seconds, range(step, steps))) - 0.2 * seconds(step) * (pace.done % 100) / 50
            found += [] if left is None else [(left, true)]
        clock.now += 0.8 * seconds(step)
        pace.advance(50, ends_iteration=True)
    assert len(found) == 50 * (steps - 4)
    if seconds is with_evaluations:
        found = found[: -50 * 10]
    assert [(left, right) for left, right in found if not right / 2 <= left <= right * 2] == []


def test_another_total_changes_the_estimate() -> None:
    clock = Clock()
    pace = Pace(1, clock)
    for _ in range(4):
        pace.resize(8)
        clock.now += 1.0
        pace.advance(1)
    assert pace.seconds_left() == pytest.approx(4.0)


def halfway() -> Pace:
    clock = Clock()
    pace = Pace(200_000, clock)
    for _ in range(100):
        clock.now += 3.0
        pace.advance(1000)
    return pace


def test_known_lines() -> None:
    note = "reward 0.512, KL 1.9"
    lines = {width: str(line_of("training", halfway(), "tokens", note, width)) for width in WIDTHS}
    assert lines == {
        20: "training ━━━───  50%",
        40: "training ━━━━━━━───────  50%  5 min left",
        50: "training ━━━━━─────  50%  333 tokens/s  5 min left",
        80: "training ━━━━━━━───────  50%  333 tokens/s  5 min left  reward 0.512, KL 1.9",
        120: "training ━━━━━━━───────  50%  333 tokens/s  5 min left  reward 0.512, KL 1.9",
    }


@pytest.mark.parametrize("width", [*WIDTHS, *range(8, 100)])
@pytest.mark.parametrize("note", ["", "x", "reward 0.512, KL 1.93, entropy 2.41, length 31.0, 94 % ended", "改善" * 9])
@pytest.mark.parametrize("title", ["training", "evaluating the trained model on held-out prompts"])
def test_a_line_never_wraps(width: int, note: str, title: str) -> None:
    for pace, finished in ((halfway(), False), (halfway(), True), (Pace(5, Clock()), False)):
        assert cell_len(str(line_of(title, pace, "tokens", note, width, finished=finished))) <= width


@pytest.mark.parametrize("width", [40, 50, 80, 120])
def test_on_a_terminal_no_line_wraps_and_the_end_tells_how_long_it_took(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, clock = io.StringIO(), Clock()
    terminal = Console(file=screen, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    monkeypatch.setattr(console, "err", lambda: terminal)
    with console.progress("training", 10, "tokens", clock) as ticker:
        for _ in range(10):
            clock.now += 30.0
            ticker.advance(1, note="reward 0.512, KL 1.93, entropy 2.41, length 31.0")
    shown = [line for part in screen.getvalue().split("\x1b[2K") for line in part.splitlines()]
    lines = [line.rsplit("\r", 1)[-1] for line in shown]
    assert max(len(line) for line in lines if "\x1b" not in line) < width
    assert "100%" in lines[-1] or "100%" in lines[-2]
    assert "in 5 min" in screen.getvalue()
    assert "left" not in screen.getvalue().rsplit("100%", 1)[1]
    assert "0:00:00" not in screen.getvalue()
