"""TensorBoard's files of a run: the points of log.jsonl, each once, at its step, whatever happened on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.event_points import scalar_points, text_points
from textgym.agents.common.history import tag_of
from textgym.envs.choice import EnvChoice
from textgym.training.event_files import settings_table, truncate_events
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_folder import RunFolder
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import TrainSettings, train_settings


@pytest.fixture
def settings(lm: str, data: str) -> TrainSettings:
    return train_settings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        model=lm, reward="rouge", steps=5 * 48, n_envs=6, n_steps=8, batch_size=16, max_new_tokens=8, eval_prompts=2,
        save_every=2, out="run",
    )  # fmt: skip


def logged(run: RunFolder, own: str) -> list[tuple[str, int, float]]:
    """The points that the log has, as TensorBoard rounds them; times of the parts stand in the log alone."""
    return sorted(
        (tag, int(row["timesteps"]), float(np.float32(value)))
        for row in run.log()
        for name, value in row.items()
        if not name.startswith("seconds/") and (tag := tag_of(name, own)) is not None and value is not None
    )


def fail_in_update(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the update of an iteration fail after its log was written and its weights were lost."""
    from textgym.agents.ppo import PPO

    update, calls = PPO.train, [0]

    def fails(self: PPO) -> None:
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        update(self)

    monkeypatch.setattr(PPO, "train", fails)


def test_the_points_of_a_run_are_those_of_its_log(settings: TrainSettings) -> None:
    run = run_train(settings)
    points = scalar_points(run.tensorboard)
    assert points == logged(run, "rougeL")
    assert {step for _, step, _ in points} == {48, 96, 144, 192, 240}


def test_a_resumed_run_neither_loses_nor_doubles_a_point(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in_update(patch, 4)
        patch.setattr("textgym.training.callbacks.RunCallback.rescue", lambda self: None)  # as kill -9 would
        with pytest.raises((KeyboardInterrupt, RunInterrupted)):
            run_train(settings)
    run = RunFolder("run")
    assert {step for _, step, _ in scalar_points(run.tensorboard)} == {48, 96, 144}
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-0000000096"]  # the third iteration is made again
    resumed = run_resume("run")
    assert scalar_points(resumed.tensorboard) == logged(resumed, "rougeL")
    assert len(resumed.log()) == 5
    assert len(list(resumed.tensorboard.iterdir())) == 1  # one curve, and not two


def test_a_run_that_begins_again_has_no_points_of_before(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in_update(patch, 2)
        patch.setattr("textgym.training.callbacks.RunCallback.rescue", lambda self: None)
        with pytest.raises((KeyboardInterrupt, RunInterrupted)):
            run_train(settings)
    assert scalar_points(RunFolder("run").tensorboard)
    resumed = run_resume("run")
    assert scalar_points(resumed.tensorboard) == logged(resumed, "rougeL")
    assert len(text_points(resumed.tensorboard)["settings", 0]) == 1


def test_settings_and_sample_texts_are_there(settings: TrainSettings) -> None:
    run = run_train(settings)
    texts = text_points(run.tensorboard)
    (shown,) = texts["settings", 0]
    for row in ("| reward | rouge |", "| steps | 240 |", "| options.n_steps | 8 |", "| choice.prompt_column | doc |"):
        assert row in shown.replace("\\", "")
    for row in run.samples():
        for key in row["texts"]:
            assert len(texts[f"samples/{key}", row["timesteps"]]) == 1


def test_an_agent_without_a_logger_is_logged_too(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    import examples.own_agent as own_agent

    monkeypatch.setitem(__import__("sys").modules, "own_agent", own_agent)
    run = run_train(replace(settings, agent="own_agent:SentenceBandit", options={}, steps=18, n_envs=6))
    assert scalar_points(run.tensorboard) == logged(run, "rougeL")
    assert [step for tag, step, _ in scalar_points(run.tensorboard) if tag == "rollout/reward"] == [6, 12, 18]


def test_supervised_fine_tuning_is_logged_by_source(settings: TrainSettings) -> None:
    run = run_train(replace(settings, agent="sft", options={"log_every": 2, "batch_size": 2}, steps=4))
    assert scalar_points(run.tensorboard) == logged(run, "rougeL")
    assert {tag for tag, _, _ in scalar_points(run.tensorboard)} == {"train/loss", "train/learning_rate"}


def test_a_damaged_file_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "PPO_1" / "events.out.tfevents.1"
    file.parent.mkdir()
    with file.open("wb") as opened:
        RecordWriter(opened).write(b"\xff\xff no event")
    truncate_events(tmp_path, 10)
    assert "could not be shortened" in " ".join(capsys.readouterr().err.split())
    truncate_events(tmp_path, -1)
    assert not tmp_path.exists()
    truncate_events(tmp_path, 10)  # there is nothing


def test_settings_are_a_table() -> None:
    table = settings_table({"steps": 3, "options": {"kl_coef": 0.1}, "reward": "a|b"})
    assert table.splitlines()[2:] == ["| steps | 3 |", "| options.kl_coef | 0.1 |", "| reward | a\\|b |"]


def test_a_reward_model_is_called_by_its_folder(settings: TrainSettings, tiny_reward: Path) -> None:
    run = run_train(replace(settings, reward=str(tiny_reward), steps=48))
    names = {name for name in run.log()[0] if name.startswith("reward/")}
    assert names == {"reward/total", "reward/helpful", "reward/helpful_raw"}
    tags = {tag for tag, _, _ in scalar_points(run.tensorboard) if "reward" in tag}
    assert tags == {"rollout/reward", "rollout/reward_std", "rollout/reward/helpful_raw"}
    assert "learned" not in json.dumps(run.log())


@pytest.fixture
def tiny_reward(lm: str) -> Path:
    from textgym.reward_models import PreferenceRewardModel

    model: Any = PreferenceRewardModel(lm)
    model.save("helpful")
    return Path("helpful")
