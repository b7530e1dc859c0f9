"""Training in a given time: the number of steps follows the speed that is measured, and a run resumes with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from textgym.agents.ppo import PPO
from textgym.agents.sft import SFT
from textgym.envs.choice import EnvChoice
from textgym.training import preparation, train
from textgym.training.run_folder import RunFolder
from textgym.training.time_budget import TimeBudget
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import TrainSettings, train_settings

BUDGET = 1000.0


def simulate(speed: Callable[[float], float], guess: int, iteration: int = 10) -> tuple[float, list[int]]:
    """Seconds that a training takes whose speed, in steps per second, depends on the time, and its numbers of steps."""
    now, made = [0.0], 0
    budget, planned = TimeBudget(BUDGET, lambda: now[0]), [guess]
    while True:
        steps = budget.steps(made, planned[-1])
        planned += [steps] if steps != planned[-1] else []
        if made >= steps:
            return now[0], planned
        now[0] += iteration / speed(now[0])
        made += iteration


@pytest.mark.parametrize("guess", [1900, 2000, 2100])
def test_a_number_of_steps_that_fits_is_kept(guess: int) -> None:
    seconds, planned = simulate(lambda _: 2.0, guess)
    assert planned in ([guess], [guess, 2000])  # the last one: the budget is used up
    assert seconds == min(guess, 2000) / 2.0


@pytest.mark.parametrize("guess", [1, 700, 4000, 10**6])
def test_a_guess_that_is_far_off_is_corrected_once(guess: int) -> None:
    seconds, planned = simulate(lambda _: 2.0, guess)
    assert seconds == BUDGET
    assert planned == [guess, 2000]


@pytest.mark.parametrize("at", [60.0, 500.0, 900.0])
def test_a_machine_that_becomes_slower_does_not_make_training_longer(at: float) -> None:
    seconds, planned = simulate(lambda now: 2.0 if now < at else 0.5, 2000)
    assert 0.9 * BUDGET <= seconds <= BUDGET + 10 / 0.5  # it is asked between iterations
    assert sorted(planned, reverse=True) == planned


@pytest.mark.parametrize("at", [60.0, 500.0, 700.0])
def test_time_that_is_gained_is_used(at: float) -> None:
    seconds, planned = simulate(lambda now: 0.5 if now < at else 2.0, 500)
    assert 0.9 * BUDGET <= seconds <= BUDGET + 10 / 0.5
    assert sorted(planned) == planned


@pytest.mark.parametrize("period", [30.0, 170.0, 400.0])
def test_a_speed_that_comes_and_goes(period: float) -> None:
    seconds, planned = simulate(lambda now: 1.5 + math.sin(2 * math.pi * now / period), 700)
    assert 0.9 * BUDGET <= seconds <= BUDGET + 10 / 0.5
    assert len(planned) <= 20  # once in each twentieth of the time, at most


class Corrects:
    """Stands for a budget of time: plans ``steps`` when ``at`` of them are made."""

    def __init__(self, at: int, steps: int) -> None:
        self.at, self.corrected = at, steps

    def steps(self, made: int, planned: int) -> int:
        return self.corrected if made >= self.at else planned


class PowerCutError(Exception):
    """The power is cut."""


def settings_of(agent: str, lm: str, data: str, out: str) -> TrainSettings:
    sizes = {"sft": {"log_every": 2, "save_every": 100}, "ppo": {"n_envs": 2, "n_steps": 4, "n_epochs": 1}}[agent]
    short = {"max_prompt_tokens": 40, "max_new_tokens": 8, "eval_prompts": 2, "batch_size": 4, "minutes": 1.0}
    choice = EnvChoice(data=data, prompt_column="doc", reference_column="sum")
    return train_settings(choice, agent, model=lm, reward="rouge", out=out, **{**short, **sizes})


def weights(run: str) -> dict[str, Any]:
    return load_file(Path(run) / "model" / "model.safetensors")


@pytest.mark.parametrize(
    ("agent", "kind", "method", "unit", "iterations"),
    [("sft", SFT, "advance", 2, 2), ("sft", SFT, "advance", 2, 5), ("ppo", PPO, "train", 8, 3)],
    ids=["sft, fewer", "sft, more", "ppo, fewer"],
)
def test_a_corrected_run_resumes_bit_for_bit(
    agent: str,
    kind: type[SFT] | type[PPO],
    method: str,
    unit: int,
    iterations: int,
    lm: str,
    data: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two iterations of four are made when the number changes; at 2, training ends there."""
    monkeypatch.setattr(preparation, "_steps_in", lambda minutes, agent: 4 * unit)
    monkeypatch.setattr(train, "TimeBudget", lambda seconds: Corrects(2 * unit, iterations * unit))
    whole = run_train(settings_of(agent, lm, data, "whole"), agent)
    assert whole.config()["steps"] == iterations * unit
    assert [row["timesteps"] for row in whole.log()] == [unit * (count + 1) for count in range(iterations)]
    learning_rates = [row["learning_rate"] for row in whole.log()]
    assert learning_rates[2:] == sorted(learning_rates[2:], reverse=True)
    if iterations == 2:
        return
    with monkeypatch.context() as patch:
        step = getattr(kind, method)

        def stops(self: Any) -> Any:
            if self.num_timesteps > 2 * unit:
                raise PowerCutError
            return step(self)

        patch.setattr(kind, method, stops)
        with pytest.raises(PowerCutError):
            run_train(settings_of(agent, lm, data, "stopped"), agent)
    assert RunFolder("stopped").config()["steps"] == iterations * unit
    run_resume("stopped", command=agent)
    first, second = weights("whole"), weights("stopped")
    assert all(first[name].equal(second[name]) for name in first)
    assert len(RunFolder("stopped").log()) == iterations
