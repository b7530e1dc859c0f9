"""Supervised fine-tuning and fits of reward models go on where they were interrupted, bit for bit."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import equal

from textgym.agents.sft import SFT
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError, DataError, FolderInUseError
from textgym.reward_models import fitting
from textgym.training import reward
from textgym.training.interrupts import RunInterrupted
from textgym.training.reward import RewardSettings, run_reward_fit, run_reward_resume
from textgym.training.run_folder import RunFolder, RunFolderError
from textgym.training.train import TrainSettings, run_resume, run_train
from textgym.training.train_settings import train_settings

STEPS = 12
run_sft, run_sft_resume = partial(run_train, command="sft"), partial(run_resume, command="sft")
Weights = dict[str, Any]


def tuning(lm: str, data: str, out: str, **changes: Any) -> TrainSettings:
    short = {"max_prompt_tokens": 40, "max_new_tokens": 8, "eval_prompts": 4, "batch_size": 4, "save_every": 5}
    return train_settings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        agent="sft",
        model=lm,
        steps=STEPS,
        out=out,
        **{**short, **changes},
    )


def fit(lm: str, data: str, out: str, **changes: Any) -> RewardSettings:
    short = {"max_prompt_tokens": 40, "max_new_tokens": 8, "pairs": 48, "batch_size": 4, "save_every": 3}
    return RewardSettings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        model=lm,
        out=out,
        epochs=2,
        **{**short, **changes},
    )


def weights(folder: Path) -> Weights:
    return {
        file.relative_to(folder).as_posix(): load_file(file) for file in sorted(folder.rglob("*.safetensors"))
    }  # fmt: skip


def same(left: Weights, right: Weights) -> bool:
    assert left
    assert left.keys() == right.keys()
    return all(equal(tensor, right[file][name]) for file in left for name, tensor in left[file].items())


def timeless(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in log]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Interrupt supervised fine-tuning in the middle of a step."""
    advance = SFT.advance

    def interrupted(self: SFT) -> float:
        if self.num_timesteps == step:
            raise error
        return advance(self)

    monkeypatch.setattr(SFT, "advance", interrupted)


def stop_fit_at(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Interrupt a reward fit after so many steps of all its parts together."""
    advance, made = fitting._ScorerTraining.advance, [0]

    def interrupted(self: Any) -> float:
        if made[0] == steps:
            raise KeyboardInterrupt
        made[0] += 1
        return advance(self)

    monkeypatch.setattr(fitting._ScorerTraining, "advance", interrupted)


@pytest.mark.parametrize("step", [4, 10])
def test_an_interrupted_sft_ends_as_one_left_alone(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole = run_sft(tuning(lm, data, "whole"))
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run_sft(tuning(lm, data, "cut"))
    if step >= 5:
        assert isinstance(stopped.value, RunInterrupted)
        assert "textgym sft --resume cut" in stopped.value.advice
    again = run_sft_resume("cut")
    assert same(weights(again.model), weights(whole.model))
    assert timeless(again.log()) == timeless(whole.log())
    kept = ("before", "after", "loss")
    assert {key: again.summary()[key] for key in kept} == {key: whole.summary()[key] for key in kept}


def test_a_request_to_stop_saves_a_checkpoint_and_the_model(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, advance = run_sft(tuning(lm, data, "whole")), SFT.advance

    def signalled(self: SFT) -> float:
        if self.num_timesteps == 7:
            signal.raise_signal(signal.SIGTERM)
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(SFT, "advance", signalled)
        with pytest.raises(RunInterrupted, match="Checkpoint saved at 8 steps"):
            run_sft(tuning(lm, data, "cut"))
    assert (Path("cut") / "model" / "config.json").is_file()
    capsys.readouterr()
    assert same(weights(run_sft_resume("cut").model), weights(whole.model))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Resuming cut from step-0000000008 (8 of 12 steps). Supervised fine-tuning" in said
    )  # what is left is announced, once
    assert said.count("Supervised fine-tuning") == said.count(": 4 steps, with ") == 1
    assert "Model: cut/model" in said


def test_a_damaged_checkpoint_is_skipped(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run_sft(tuning(lm, data, "whole"))
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        with pytest.raises(KeyboardInterrupt):
            run_sft(tuning(lm, data, "cut"))
    newest = Path("cut/checkpoints/step-0000000010/tensors.safetensors")
    newest.write_bytes(newest.read_bytes()[:-4] + b"abcd")
    assert same(weights(run_sft_resume("cut").model), weights(whole.model))
    assert "skipped a damaged checkpoint" in "".join(capsys.readouterr())


def test_checkpoints_that_are_all_damaged_are_an_error(lm: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run_sft(tuning(lm, data, "cut"))
    for file in Path("cut/checkpoints").rglob("state.json"):
        file.write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="no complete checkpoint; start a new run"):
        run_sft_resume("cut")


def test_changed_data_is_noticed(lm: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Path(data).read_text(encoding="utf-8").splitlines()
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(rows), encoding="utf-8")
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run_sft(tuning(lm, str(file), "cut"))
    file.write_text("\n".join(reversed(rows)), encoding="utf-8")
    with pytest.raises(DataError, match="expected the data that the run began with"):
        run_sft_resume("cut")
    assert run_sft_resume("cut", accept_changed_data=True).summary()["after"]


def spoil(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a file of a checkpoint, and its checksum with it."""
    file = folder / name
    if name.endswith(".json"):
        file.write_text(json.dumps(change(json.loads(file.read_text()))))
    else:
        save_file(change(load_file(file)), file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def with_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    return {**tensors, name: torch.full_like(tensors[name], float("nan"))}


NONSENSE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "nan": ("tensors.safetensors", with_nan),
    "a tensor is missing": ("tensors.safetensors", lambda tensors: dict(list(tensors.items())[1:])),
    "no object": ("state.json", lambda record: [record]),
    "nothing in it": ("state.json", lambda record: {"kind": record["kind"]}),
    "texts for numbers": ("state.json", lambda record: {"kind": record["kind"], **dict.fromkeys(record, "x")}),
}


@pytest.mark.parametrize("command", ["sft", "reward fit"])
@pytest.mark.parametrize(("name", "change"), NONSENSE.values(), ids=NONSENSE.keys())
def test_resume_skips_what_cannot_be_used(
    lm: str,
    data: str,
    command: str,
    name: str,
    change: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A checkpoint whose checksums are right, and which makes no sense all the same."""
    run: Callable[[str], RunFolder] = {
        "sft": lambda out: run_sft(tuning(lm, data, out)),
        "reward fit": lambda out: run_reward_fit(fit(lm, data, out)),
    }[command]
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        stop_fit_at(patch, 20)
        with pytest.raises(RunInterrupted):
            run("cut")
    *_, newest = sorted(Path("cut/checkpoints").rglob("step-*"))
    spoil(newest, name, change)
    capsys.readouterr()
    resumed = run_sft_resume("cut") if command == "sft" else run_reward_resume("cut")
    assert "skipped a damaged checkpoint" in "".join(capsys.readouterr())
    whole = run("whole")
    part = "model" if command == "sft" else "reward"
    assert same(weights(resumed.path / part), weights(whole.path / part))


@pytest.mark.parametrize(("command", "resume"), [("sft", run_sft_resume), ("reward fit", run_reward_resume)])
def test_a_run_has_one_owner(command: str, resume: Any) -> None:
    with RunFolder.create("run", command, {}), pytest.raises(FolderInUseError, match=f"process {os.getpid()}"):
        resume("run")


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_plots_that_fail_stop_nothing(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("textgym.plots.save_figure", full)
    monkeypatch.setattr(RunFolder, "append_log", full)
    assert run_sft(tuning(lm, data, "tuned")).summary()["after"]
    fitted = run_reward_fit(fit(lm, data, "fitted"))
    assert fitted.summary()["accuracy"]
    assert not fitted.checkpoints.exists()
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("a plot could not be written ([Errno 28] No space left on device)") >= 2
    assert said.count("log.jsonl could not be written") == 1


@pytest.mark.parametrize(("command", "resume"), [("sft", run_reward_resume), ("reward fit", run_sft_resume)])
def test_a_run_of_another_command_is_refused(command: str, resume: Any) -> None:
    RunFolder.create("run", command, {}).__exit__(None, None, None)
    with pytest.raises(RunFolderError, match=f"a run of `textgym {command}`"):
        resume("run")


@pytest.mark.parametrize(("steps", "changes"), [(2, {}), (20, {}), (25, {"members": 2})])
def test_an_interrupted_fit_ends_as_one_left_alone(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, steps: int, changes: dict[str, Any]
) -> None:
    whole = run_reward_fit(fit(lm, data, "whole", **changes))
    with monkeypatch.context() as patch:
        stop_fit_at(patch, steps)
        with pytest.raises(RunInterrupted, match="textgym reward fit --resume cut"):
            run_reward_fit(fit(lm, data, "cut", **changes))
    assert not (Path("cut") / "reward").exists()
    again = run_reward_resume("cut")
    assert same(weights(again.reward), weights(whole.reward))
    assert not again.checkpoints.exists()
    left, right = ({**run.summary(), "seconds": 0, "versions": 0} for run in (again, whole))
    assert json.dumps(left) == json.dumps(right)
    assert (again.path / "feedback.jsonl").read_bytes() == (whole.path / "feedback.jsonl").read_bytes()


def test_a_request_to_stop_a_fit_saves_a_checkpoint(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, advance = run_reward_fit(fit(lm, data, "whole")), fitting._ScorerTraining.advance

    def signalled(self: Any) -> float:
        if self.step == 6:
            signal.raise_signal(signal.SIGTERM)
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(fitting._ScorerTraining, "advance", signalled)
        with pytest.raises(RunInterrupted, match="last checkpoint with: textgym reward fit --resume cut") as stopped:
            run_reward_fit(fit(lm, data, "cut"))
    assert stopped.value.signal == signal.SIGTERM
    assert sorted(path.name for path in Path("cut/checkpoints").rglob("step-*"))[-1] == "step-0000000007"
    assert same(weights(run_reward_resume("cut").reward), weights(whole.reward))
    assert "--reward cut" in capsys.readouterr().out


def test_a_finished_fit_stays_as_it_is(
    lm: str, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_reward_fit(fit(lm, data, "a run"))
    assert "--reward 'a run'" in " ".join(capsys.readouterr().out.split())
    stop_fit_at(monkeypatch, 0)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    run_reward_resume("a run")
    assert {path: path.read_bytes() for path in before} == before
    assert "is finished; its reward model is" in capsys.readouterr().out


def test_stopped_while_comparisons_are_simulated(lm: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*about: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reward, "simulate_comparisons", stop)
    with pytest.raises(RunInterrupted) as stopped:
        run_reward_fit(fit(lm, data, "cut"))
    assert stopped.value.advice == "Resume with: textgym reward fit --resume cut"


@pytest.mark.slow
def test_an_interrupted_learning_curve_goes_on(lm: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"learning_curve": True, "pairs": 40, "held_out": 0.3}
    whole = run_reward_fit(fit(lm, data, "whole", **settings))
    with monkeypatch.context() as patch:
        stop_fit_at(patch, 16)
        with pytest.raises(RunInterrupted):
            run_reward_fit(fit(lm, data, "cut", **settings))
    again = run_reward_resume("cut")
    assert again.summary()["learning_curve"] == whole.summary()["learning_curve"]
    assert same(weights(again.reward), weights(whole.reward))
