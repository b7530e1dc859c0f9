"""Training runs: what they leave behind, and that an interrupted one ends where an uninterrupted one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from textgym.cli import app as cli
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError, ModelError, TextGymError
from textgym.metrics.texts import TEXT_METRICS
from textgym.training import train as pipeline
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_folder import RunFolder, RunFolderError
from textgym.training.train import TrainSettings, run_resume, run_train
from textgym.training.train_settings import train_settings

MEASURES = {"reward", "gold", "rouge1", "rouge2", "rougeL", *TEXT_METRICS, "kl", "length", "eos"}


class Impatient:
    """Wants to stop from the n-th time on that it is asked."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    @property
    def wanted(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def stop_after(monkeypatch: pytest.MonkeyPatch, iterations: int) -> None:
    @contextmanager
    def impatient(meanwhile: str, echo: float = 0.0) -> Iterator[Impatient]:
        yield Impatient(iterations)

    monkeypatch.setattr(pipeline, "stop_on_request", impatient)


@pytest.fixture
def settings(lm: str) -> TrainSettings:
    return train_settings(
        EnvChoice(),
        model=lm,
        reward="rouge",
        steps=4 * 48,
        learning_rate=1e-3,
        n_envs=6,
        n_steps=8,
        batch_size=16,
        epochs=2,
        max_new_tokens=8,
        eval_prompts=8,
        save_every=1,
        out="run",
    )


def weights(run: RunFolder) -> dict[str, Any]:
    return load_file(run.model / "model.safetensors")


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(bool((left[name] == right[name]).all()) for name in left)


def test_a_run_leaves_everything_behind(settings: TrainSettings, lm: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_train(settings)
    summary = json.loads((run.path / "summary.json").read_text())
    assert {"before", "after", "seconds", "versions"} <= set(summary)
    for side in ("before", "after"):
        assert set(summary[side]) == MEASURES
        for interval in summary[side].values():
            assert set(interval) == {"mean", "low", "high"}
            assert interval["low"] <= interval["mean"] <= interval["high"]
    assert summary["before"]["kl"] == {"mean": 0, "low": 0, "high": 0}
    assert summary["after"]["kl"]["mean"] != 0
    assert {"before", "training", "after", "total"} <= set(summary["seconds"])
    log = run.log()
    assert [row["timesteps"] for row in log] == [48, 96, 144, 192]
    names = {"kl", "reward", "gold", "entropy", "clip_fraction", "iteration", "seconds/rollout", "seconds/update"}
    assert all(names <= set(row) for row in log)
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == ["step-0000000144", "step-0000000192"]
    for name in ("learning_curve.png", "kl.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
    assert list((run.path / "tensorboard").rglob("events.*"))
    samples = (run.path / "samples.md").read_text()
    assert samples.count("## reports/validation/") == samples.count("| tokens written in training | text |") == 4
    assert "*tokens written in training*: how far training was" in samples
    assert samples.count("\n| 0 |") == samples.count("\n| 192 |") == 4
    card = (run.model / "README.md").read_text()
    assert Path(lm).name in card
    assert lm not in card  # no place of this machine
    assert "192 tokens" in card
    assert "| rougeL |" in card
    assert "| kl, nats per text |" in card
    assert "| length, tokens |" in card
    assert '"steps": 192' in card
    shown = capsys.readouterr().out
    assert shown.startswith("PPO: ")
    assert "About " in shown.splitlines()[0]
    assert [line for line in shown.splitlines()[2:] if len(line) > 80] == []
    assert not same(weights(run), load_file(Path(lm) / "model.safetensors"))


def test_the_model_opens_in_transformers(settings: TrainSettings) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = run_train(replace(settings, steps=48))
    model = AutoModelForCausalLM.from_pretrained(run.model)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer("The council met.", return_tensors="pt").input_ids
    assert model(ids).logits.shape[-1] == len(tokenizer)


def test_an_interrupted_run_ends_bit_for_bit_where_an_uninterrupted_one_does(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_train(replace(settings, out="whole"))
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(RunInterrupted, match="textgym train --resume run"):
            run_train(settings)
    assert [row["timesteps"] for row in RunFolder("run").log()] == [48, 96]
    assert (Path("run") / "learning_curve.png").is_file()
    measured = RunFolder("run").summary()["seconds"]["before"]
    resumed = run_resume("run")
    assert same(weights(resumed), weights(whole))
    numbers = [
        [{key: value for key, value in row.items() if "second" not in key} for row in run.log()]
        for run in (resumed, whole)
    ]
    assert numbers[0] == numbers[1]
    assert resumed.samples() == whole.samples()
    for side in ("before", "after"):
        assert resumed.summary()[side] == whole.summary()[side]
    assert resumed.summary()["seconds"]["before"] == measured > 0


def test_resume_skips_a_damaged_checkpoint(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run_train(replace(settings, out="whole"))
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(RunInterrupted):
            run_train(settings)
    with open("run/checkpoints/step-0000000096/tensors.safetensors", "r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    resumed = run_resume("run")
    captured = capsys.readouterr()
    assert "skipped a damaged checkpoint" in captured.err
    assert "step-0000000048" in captured.out
    assert same(weights(resumed), weights(whole))
    assert [row["timesteps"] for row in resumed.log()] == [48, 96, 144, 192]
    for folder in Path("run/checkpoints").glob("step-*"):
        (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no complete checkpoint; start a new run"):
        run_resume("run")


def test_resuming_a_finished_run_changes_nothing(settings: TrainSettings) -> None:
    run = run_train(replace(settings, steps=48))
    before, log = weights(run), run.log()
    run_resume("run")
    assert same(weights(run), before)
    assert run.log() == log


def test_stopping_at_once_tells_how_to_go_on(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_write_results", stop)
    with pytest.raises(RunInterrupted, match="last checkpoint with: textgym train --resume run"):
        run_train(replace(settings, steps=48))
    monkeypatch.setattr(pipeline, "measure_before", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_train(replace(settings, steps=48, out="other"))
    assert not isinstance(caught.value, RunInterrupted)  # there is nothing to go on from


def test_resuming_what_never_trained(tmp_path: Path) -> None:
    RunFolder.create("other", "reward fit", {})
    with pytest.raises(
        RunFolderError, match="`textgym reward fit`; resume it with `textgym reward fit --resume other`"
    ):
        run_resume("other")


def test_same_seed_same_run_and_another_differs(settings: TrainSettings) -> None:
    short = replace(settings, steps=96)
    first, again, other = (
        run_train(replace(short, seed=seed, out=f"run-{place}")) for place, seed in enumerate((0, 0, 1))
    )
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_lora_and_a_separate_critic(settings: TrainSettings) -> None:
    run = run_train(replace(settings, steps=96).with_options(critic="separate", lora_rank=2, temperature=0.7))
    assert run.summary()["before"]["kl"]["mean"] == 0
    assert (run.model / "model.safetensors").is_file()


def test_a_context_that_is_too_short(settings: TrainSettings) -> None:
    with pytest.raises(ModelError, match="use max_prompt_tokens=760, or lower max_new_tokens"):
        run_train(replace(settings, max_prompt_tokens=1000))
    assert not Path("run").exists()


@pytest.mark.parametrize("missing", ["model", "data", "reward"])
def test_mistakes_leave_no_folder(settings: TrainSettings, missing: str) -> None:
    Path("empty").mkdir()
    Path("few.jsonl").write_text('{"prompt": "a", "summary": "b"}\n' * 3)
    mistakes = {
        "model": {"model": "empty"},
        "reward": {"reward": "empty"},
        "data": {"choice": EnvChoice(data="few.jsonl")},
    }
    with pytest.raises(TextGymError, match="expected"):
        run_train(replace(settings, **mistakes[missing]))  # type: ignore[arg-type]
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("agent", "copies", "error"),
    [
        ("consensus_ppo", 6, "expected n_envs to be a multiple of the 4 agents, which share them, got 6; change it"),
        ("consensus_ppo", 1, "expected n_envs to be a multiple of the 4 agents, which share them, got 1; change it"),
        ("grpo", 6, "expected n_envs to be a multiple of group_size=4, .* got 6; change one"),
        ("rloo", 1, "expected n_envs to be a multiple of group_size=4, .* got 1; change one"),
    ],
)
def test_environments_that_do_not_suit_an_agent_leave_no_folder(agent: str, copies: int, error: str) -> None:
    options = {"agents": 4} if agent == "consensus_ppo" else {"group_size": 4}
    made = train_settings(EnvChoice("TextSpell-v0"), agent, options=options, n_envs=copies, out="run", device="cpu")
    with pytest.raises(ValueError, match=error):
        run_train(made)
    assert not Path("run").exists()


def test_a_run_is_gone_on_with_from_another_folder(
    settings: TrainSettings, data: str, lm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(data, "notes.jsonl")
    shutil.copytree(lm, "start")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(RunInterrupted):
            run_train(replace(settings, choice=EnvChoice("TextSumm-v0", "notes.jsonl", "doc", "sum"), model="start"))
    run = Path("run").resolve()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run_resume(str(run)).log()[-1]["timesteps"] == 192


def test_numpy_numbers_and_paths(settings: TrainSettings) -> None:
    changes = {"steps": np.int64(48), "n_envs": np.int64(6), "seed": np.int64(0)}
    run = run_train(
        replace(
            settings,
            **changes,
            model=Path(settings.model),
            out=Path("run"),
            options={**settings.options, "n_steps": np.int64(8)},
        )
    )  # type: ignore[arg-type]
    assert run.config()["settings"]["steps"] == 48
    assert len(list(run.checkpoints.glob("step-*"))) == 1


def test_on_a_file_without_gold(lm: str, data: str) -> None:
    arguments = f"--data {data} --prompt-column doc --reference-column sum --model {lm} --steps 48 --n-envs 6"
    shown = CliRunner().invoke(
        cli.app,
        ["train", "TextSumm-v0", *arguments.split(), "--max-new-tokens", "8", "--eval-prompts", "4", "--out", "r"],
    )
    assert shown.exit_code == 0, shown.stderr
    assert "ROUGE-L against its references" in shown.stderr  # the log says which reward was chosen
    assert set(RunFolder("r").summary()["after"]) == MEASURES - {"gold"}


def test_ctrl_c_in_a_shell(settings: TrainSettings, lm: str) -> None:
    code = "import torch; torch.set_num_threads(1); from textgym.cli.app import main; main()"
    arguments = (
        f"train --model {lm} --reward rouge --steps 40000 --n-envs 6 --eval-prompts 4 --max-new-tokens 8 --out r"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not Path("r/log.jsonl").exists() and process.poll() is None:  # however slow the machine is
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == cli.INTERRUPTED, out + err
    assert "textgym train --resume r" in err
    assert "Traceback" not in err
    assert len(list(Path("r/checkpoints").glob("step-*"))) >= 1
