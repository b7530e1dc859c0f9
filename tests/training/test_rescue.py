"""An error, wherever it comes from, loses no whole iteration and says how to go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from textgym.agents.common.reference import Reference
from textgym.agents.ppo import PPO
from textgym.envs.choice import EnvChoice
from textgym.training import train as pipeline
from textgym.training.callbacks import RunCallback
from textgym.training.run_folder import RunFolder
from textgym.training.train import TrainSettings, run_resume, run_train
from textgym.training.train_settings import train_settings

ITERATION = 6 * 8  # tokens


@pytest.fixture(scope="module")
def settings(lm: str) -> TrainSettings:
    """Four iterations of two epochs, and no checkpoint before the end; samples after each."""
    return train_settings(
        EnvChoice(),
        model=lm,
        reward="rouge",
        steps=4 * ITERATION,
        learning_rate=1e-2,
        n_envs=6,
        n_steps=8,
        batch_size=16,
        epochs=2,
        max_new_tokens=8,
        eval_prompts=2,
        save_every=10,
        kl_target=0.05,
        out="run",
    )


@pytest.fixture(scope="module")
def whole(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run without an error."""
    return run_train(replace(settings, out=str(tmp_path_factory.mktemp("whole") / "run")))


class TroubleError(Exception):
    """No error of a reward."""


def fail_in(patch: pytest.MonkeyPatch, owner: Any, name: str, is_due: Callable[[Any], bool]) -> None:
    """Let a method or function raise where ``is_due`` of its first argument says so."""
    original = getattr(owner, name)

    def failing(first: Any, *arguments: Any, **named: Any) -> Any:
        if is_due(first):
            raise TroubleError("by chance")
        return original(first, *arguments, **named)

    patch.setattr(owner, name, failing)


def call(number: int) -> Callable[[Any], bool]:
    """Return what is true at the call of that number, from 1 on."""
    count = [0]

    def is_due(_: Any) -> bool:
        count[0] += 1
        return count[0] == number

    return is_due


def after(iterations: int) -> Callable[[Any], bool]:
    """Return what is true once so many iterations are made."""
    return lambda callback: bool(callback.model.num_timesteps == iterations * ITERATION)


def in_update(pass_: int) -> Callable[[Any], bool]:
    """Return what is true in that pass, from 1 on, of the third update."""
    is_due = call(pass_)
    return lambda agent: len(agent.history) == 2 and is_due(agent)


def check_goes_on(whole: RunFolder, iterations: int) -> None:
    """The run has that many iterations, and ends as the one without an error."""
    assert max(Path("run/checkpoints").glob("step-*")).name == f"step-{iterations * ITERATION:010d}"
    resumed = run_resume("run")
    first, second = (load_file(run.model / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [[{k: v for k, v in row.items() if "second" not in k} for row in run.log()] for run in (resumed, whole)]
    assert logs[0] == logs[1]
    assert resumed.samples() == whole.samples()
    for side in ("before", "after"):
        assert resumed.summary()[side] == whole.summary()[side]


def fail(settings: TrainSettings) -> None:
    with pytest.raises(TroubleError) as caught:
        run_train(settings)
    assert caught.value.__notes__ == [
        "The work so far is saved. Once the cause is fixed, resume with: textgym train --resume run"
    ]


PLACES: dict[str, tuple[Any, str, Callable[[Any], bool], int]] = {
    "samples between iterations": (RunCallback, "write_samples", after(2), 2),
    "the log between iterations": (RunCallback, "flush", after(2), 2),
    "samples after the last iteration": (RunCallback, "write_samples", after(4), 4),
    "a step of a rollout": (RunCallback, "_on_step", lambda callback: callback.num_timesteps > 2.4 * ITERATION, 2),
    "the end of a rollout": (RunCallback, "_on_rollout_end", after(3), 2),
    "the reference's pass": (Reference, "check_start", call(3), 2),
    "what is recorded of an update": (PPO, "_record_update", call(3), 2),
    "evaluation afterwards": (pipeline, "evaluate", call(2), 4),
    "results": (pipeline, "_write_results", call(1), 4),
}


@pytest.mark.parametrize(("owner", "name", "is_due", "iterations"), PLACES.values(), ids=PLACES.keys())
def test_an_error_loses_no_iteration(
    owner: Any,
    name: str,
    is_due: Callable[[Any], bool],
    iterations: int,
    settings: TrainSettings,
    whole: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        fail_in(patch, owner, name, is_due)
        fail(settings)
    check_goes_on(whole, iterations)


@pytest.mark.parametrize("pass_", [1, 3])
def test_an_error_in_an_update_loses_no_iteration(
    pass_: int, settings: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in(patch, PPO, "accumulate_gradients", in_update(pass_))
        fail(settings)
    check_goes_on(whole, 2)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [{"lora_rank": 2}, {"critic": "separate"}], ids=str)
def test_nor_does_one_with_other_weights(
    policy: dict[str, Any], settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.with_options(**policy)
    whole = run_train(replace(settings, out="whole"))
    with monkeypatch.context() as patch:
        fail_in(patch, PPO, "accumulate_gradients", in_update(3))
        fail(settings)
    check_goes_on(whole, 2)


def test_of_a_large_model_an_update_that_began_is_lost_and_said(
    settings: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("textgym.agents.common.snapshot._LARGEST_COPY", 0)
    with monkeypatch.context() as patch:
        fail_in(patch, PPO, "accumulate_gradients", in_update(3))
        with pytest.raises(TroubleError):
            run_train(replace(settings, out="lost"))
    said = " ".join(capsys.readouterr().err.split())
    assert "could not be written (an update had begun to change the weights" in said
    assert "what came after the checkpoint before it, if there is one, is lost" in said
    with monkeypatch.context() as patch:
        fail_in(patch, PPO, "accumulate_gradients", in_update(1))  # before its first step
        fail(settings)
    check_goes_on(whole, 2)


def test_an_error_in_the_first_iteration_leaves_a_folder_that_begins_again(
    settings: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, name in ((pipeline, "evaluate"), (PPO, "accumulate_gradients")):
        with monkeypatch.context() as patch:
            fail_in(patch, owner, name, call(1))
            with pytest.raises(TroubleError):
                run_train(settings)
        assert not list(Path("run").rglob("step-*"))
    assert json.loads((run_resume("run").path / "summary.json").read_text())["after"] == whole.summary()["after"]
