"""What happens to a run when something else goes wrong: rewards, disks, signals, other runs, other data."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from textgym import console
from textgym.cli import app as cli
from textgym.cli.errors import reader_is_gone, report, report_interrupt
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError, DataError, DiskFullError, FolderInUseError, RewardError, RunFolderError
from textgym.evaluation.reward_guard import GuardedReward, guarded
from textgym.models import checkpoint
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model
from textgym.reward_models import PreferenceRewardModel, load_reward
from textgym.training import evaluate as evaluation
from textgym.training import preparation
from textgym.training import train as pipeline
from textgym.training.interrupts import RunInterrupted, Terminated, signals_as_interrupts, stop_on_request
from textgym.training.recovery import advising
from textgym.training.run_folder import RunFolder
from textgym.training.train import TrainSettings, run_resume, run_train
from textgym.training.train_settings import train_settings
from textgym.types import Example

LENGTH = "a_reward:length"
CODE = """
import os
calls = 0
def length(prompts, responses, examples):
    global calls
    calls += 1
    if os.path.exists("trouble.py"):
        exec(open("trouble.py").read())
    return [0.1 * (len(text) % 7) for text in responses]
"""


@pytest.fixture
def settings(lm: str, data: str, monkeypatch: pytest.MonkeyPatch) -> TrainSettings:
    """Four iterations of 48 tokens, on a reward that does what ``trouble.py`` says."""
    Path("a_reward.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    sys.modules.pop("a_reward", None)
    return train_settings(
        EnvChoice("TextSumm-v0", data, "doc", "sum"),
        model=lm,
        reward=LENGTH,
        steps=4 * 48,
        learning_rate=1e-3,
        n_envs=6,
        n_steps=8,
        batch_size=16,
        epochs=1,
        max_new_tokens=8,
        eval_prompts=2,
        save_every=10,
        out="run",
    )


def same_weights(left: RunFolder, right: RunFolder) -> bool:
    first, second = (load_file(run.model / "model.safetensors") for run in (left, right))
    return all(torch.equal(first[name], second[name]) for name in first)


def trouble_after(monkeypatch: pytest.MonkeyPatch, tokens: int, trouble: str) -> None:
    """Let the reward get into trouble in the rollout after so many tokens, somewhere in its middle."""
    step = pipeline.RunCallback._on_step

    def on_step(self: Any) -> bool:
        if self.num_timesteps > tokens + 18:
            Path("trouble.py").write_text(trouble)
        return step(self)

    monkeypatch.setattr(pipeline.RunCallback, "_on_step", on_step)


# -------------------------------------------------------------- errors of rewards
def test_an_error_of_a_reward_loses_no_iteration(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run_train(replace(settings, out="whole"))
    with monkeypatch.context() as patch:
        trouble_after(patch, 96, "raise ZeroDivisionError('by chance')")
        with pytest.raises(ZeroDivisionError) as caught:
            run_train(settings)
    whose, *others = caught.value.__notes__
    assert whose.startswith("The error is from the reward 'length' (a_reward.py, line ")
    assert others == [
        "The work so far is saved. Once the cause is fixed, resume with: "
        "textgym train --resume run --reward a_reward:length"
    ]
    assert [path.name for path in Path("run/checkpoints").iterdir()] == ["step-0000000096"]
    Path("trouble.py").unlink()
    assert same_weights(run_resume("run", ["a_reward:length"]), whole)


def test_a_rescue_that_fails_says_what_is_lost(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble_after(monkeypatch, 48, "raise ZeroDivisionError('by chance')")
    monkeypatch.setattr("textgym.agents.PPO.save", full)
    with pytest.raises(ZeroDivisionError):
        run_train(settings)
    said = " ".join(capsys.readouterr().err.split())
    assert "a checkpoint of the last whole iteration could not be written" in said
    assert "what came after the checkpoint before it, if there is one, is lost" in said
    assert "training continues" not in said


def test_a_reward_that_exits_is_named(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        trouble_after(patch, 48, "raise SystemExit(3)")
        with pytest.raises(RewardError, match=r"from the reward 'length', got SystemExit\(3\)"):
            run_train(settings)
    assert Path("run/checkpoints/step-0000000048").is_dir()


def test_the_command_prints_how_to_go_on(settings: TrainSettings, lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble_after(monkeypatch, 48, "raise ZeroDivisionError('by chance')")
    choice = settings.choice
    arguments = f"--data {choice.data} --prompt-column doc --reference-column sum --model {lm} --steps 192 --n-envs 6"
    more = f"--n-steps 8 --batch-size 16 --max-new-tokens 8 --eval-prompts 2 --reward {LENGTH} --out run"
    shown = CliRunner().invoke(cli.app, ["train", *arguments.split(), *more.split()])
    assert shown.exit_code == cli.FAILED, shown.stderr
    assert "ZeroDivisionError: by chance" in shown.stderr
    assert "textgym train --resume run" in " ".join(shown.stderr.split())


def test_a_reward_that_hangs_has_a_limit(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        trouble_after(patch, 48, "import threading; threading.Event().wait(60)")
        with pytest.raises(RewardError, match=r"reward 'length' to score \d+ texts within 2 s \(reward_timeout\)"):
            run_train(replace(settings, reward_timeout=2.0))
    assert Path("run/checkpoints/step-0000000048").is_dir()


def test_a_limit_changes_no_number(settings: TrainSettings) -> None:
    short = replace(settings, steps=96)
    plain, limited = run_train(short), run_train(replace(short, reward_timeout=60.0, out="limited"))
    assert same_weights(plain, limited)


def scored(reward: Callable[..., Any], seconds: float | None = None) -> list[float]:
    guard = GuardedReward(reward, seconds)
    return [float(value) for value in guard(["p"] * 2, ["a", "bc"], [Example("k", "p")] * 2)]


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_what_a_reward_changes_is_put_back(seconds: float | None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    threads, folder = torch.get_num_threads(), os.getcwd()

    def meddling(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
        os.chdir("elsewhere")
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads + 1)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        return [1.0, 2.0]

    assert scored(meddling, seconds) == [1.0, 2.0]
    assert os.getcwd() == folder
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert np.geterr()["under"] == "ignore"
    said = " ".join(capsys.readouterr().err.split())
    of_process = ["the working directory", "torch's default dtype"]
    of_thread = ["torch's number of threads", "how numpy treats"]  # in a thread of its own it changes nobody else's
    for name in of_process + ([] if seconds else of_thread):
        assert said.count(f"the reward 'meddling' changed {name}") == 1


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_a_seed_inside_a_reward_does_not_make_a_run_repeat_itself() -> None:
    def seeding(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        return [draw()[0], draw()[1]]

    streams = []
    for _ in range(2):
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        drawn = []
        for _ in range(3):
            scored(seeding)
            drawn.append(draw())
        streams.append(drawn)
    assert streams[0] == streams[1]  # a resumed run draws the same
    assert all(len(set(column)) == 3 for column in zip(*streams[0], strict=True))


def test_a_reward_that_draws_nothing_leaves_generators_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    scored(lambda prompts, responses, examples: [0.0, 1.0])
    assert torch.equal(torch.rand(3), expected)


def test_whose_rewards_are_guarded() -> None:
    assert guarded("rouge", None) == "rouge"
    assert guarded(None, None) is None
    assert isinstance(guarded("module:attribute", None), GuardedReward)
    assert isinstance(guarded("rouge", 1.0), GuardedReward)


# ------------------------------------------------------------------ checkpoints
def spoil(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a file of a checkpoint, and its checksum with it."""
    file = folder / name
    if name.endswith(".json"):
        changed = change(json.loads(file.read_text()))
        file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    else:
        save_file(change(load_file(file)), file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = checkpoint._digest(file)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def with_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**tensors, "policy.value_head.bias": torch.full((1,), float("nan"))}


NONSENSE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "nan": ("tensors.safetensors", with_nan),
    "no JSON": ("state.json", lambda record: "{" + json.dumps(record)),
    "endless nesting": ("state.json", lambda record: "[" * 100_000),
    "NaN in JSON": (
        "state.json",
        lambda record: {**record, "counters": {**record["counters"], "_current_progress_remaining": float("nan")}},
    ),
    "another model": ("model/config.json", lambda record: {**record, "hidden_size": 3}),
    "a model that is none": ("model/config.json", lambda record: []),
    "no object": ("state.json", lambda record: [record]),
    "a key is missing": ("state.json", lambda record: {k: v for k, v in record.items() if k != "optimizer"}),
    "a type is wrong": ("state.json", lambda record: {**record, "rng": "none"}),
    "a number is text": ("state.json", lambda record: {**record, "settings": {**record["settings"], "n_steps": "x"}}),
}


@pytest.mark.parametrize(("name", "change"), NONSENSE.values(), ids=NONSENSE.keys())
def test_resume_skips_what_cannot_be_used(
    whole: RunFolder, copied: Path, name: str, change: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(copied / "checkpoints" / "step-0000000144", name, change)
    capsys.readouterr()
    resumed = run_resume("copied")
    shown = capsys.readouterr()
    assert "skipped a damaged checkpoint" in shown.err
    assert "from step-0000000096" in shown.out
    assert same_weights(resumed, whole)


@pytest.fixture(scope="module")
def built_in(lm: str) -> TrainSettings:
    return train_settings(
        EnvChoice(),
        model=lm,
        reward="rouge",
        steps=3 * 48,
        learning_rate=1e-3,
        n_envs=6,
        n_steps=8,
        batch_size=16,
        epochs=1,
        max_new_tokens=8,
        eval_prompts=2,
        save_every=1,
    )


@pytest.fixture(scope="module")
def whole(built_in: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing went wrong in."""
    return run_train(replace(built_in, out=str(tmp_path_factory.mktemp("whole") / "run")))


@pytest.fixture
def copied(whole: RunFolder) -> Path:
    """The same, in a folder of the test."""
    shutil.copytree(whole.path, "copied")
    return Path("copied")


def test_a_checkpoint_with_nan_is_never_written(tmp_path: Path) -> None:
    target = tmp_path / "c"
    checkpoint.write_checkpoint(target, {"a": torch.zeros(2)}, {"kind": "x"})
    for bad in (float("nan"), float("inf")):
        with pytest.raises(CheckpointError, match="expected finite numbers to save, got NaN or infinity in 'a'"):
            checkpoint.write_checkpoint(target, {"a": torch.tensor([0.0, bad])}, {"kind": "x"})
    assert torch.equal(checkpoint.read_checkpoint(target, "x")[0]["a"], torch.zeros(2))
    mask = torch.tensor([0.0, -float("inf")])
    checkpoint.write_checkpoint(target, {"mask": mask}, {"kind": "x"}, may_be_infinite=["mask"])
    assert torch.equal(checkpoint.read_checkpoint(target, "x")[0]["mask"], mask)


# ------------------------------------------------------------------------ locks
def test_a_folder_belongs_to_one_run_at_a_time(built_in: TrainSettings, copied: Path) -> None:
    with RunFolder.open("copied"):
        for go in (lambda: run_resume("copied"), lambda: run_train(replace(built_in, out="copied"))):
            with pytest.raises(FolderInUseError, match=rf"in use by process {os.getpid()} on "):
                go()
    before = (copied / "log.jsonl").read_text()
    run_resume("copied")
    assert (copied / "log.jsonl").read_text() == before


def test_an_evaluation_holds_its_folder_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = evaluation.EvaluateSettings(EnvChoice(), prompts=1, max_new_tokens=2, out=str(tmp_path / "out"))
    measured, refused = evaluation.evaluate, []

    def measure(*args: Any, **kwargs: Any) -> Any:
        with pytest.raises(FolderInUseError):
            RunFolder.create(settings.out, "evaluate", {})
        refused.append(True)
        return measured(*args, **kwargs)

    monkeypatch.setattr(evaluation, "evaluate", measure)
    run = evaluation.run_evaluate(settings)
    assert refused == [True]
    with RunFolder.open(run.path):  # free again, though `run` is still there
        pass


HOLD = """
import sys
from textgym.training.run_folder import RunFolder
run = RunFolder.create("theirs", "train", {}).__enter__()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_ends_with_its_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError, match=f"process {process.pid}"), RunFolder.open("theirs"):
        pass
    with pytest.raises(FolderInUseError):
        RunFolder.create("theirs", "train", {})
    process.kill()
    process.communicate()
    assert (Path("theirs") / ".lock").is_file()
    with RunFolder.open("theirs") as run:
        assert run.config()["command"] == "train"


def test_two_default_folders_of_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [RunFolder.create(None, "train", {}) for _ in range(3)]
    assert len({run.path for run in runs}) == 3


def test_leftovers_of_killed_runs_are_removed(copied: Path) -> None:
    (copied / ".config.json.12345.tmp").write_text("{")
    (copied / "checkpoints" / ".step-0000000999.new").mkdir()
    (copied / "checkpoints" / ".step-0000000144.old").mkdir()
    (copied / "checkpoints" / "step-0000000096").rename(copied / "checkpoints" / ".step-0000000096.old")
    (copied / ".gitignore").write_text("mine")
    with RunFolder.open("copied"):
        pass
    assert {path.name for path in copied.iterdir() if path.name.startswith(".")} == {".lock", ".gitignore"}
    assert sorted(os.listdir(copied / "checkpoints")) == ["step-0000000096", "step-0000000144"]


# ----------------------------------------------------- runs that never got far
def killed_early(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(training: Any, watch: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "learn", stop)
        with pytest.raises(KeyboardInterrupt):
            run_train(settings)


@pytest.mark.parametrize("again", ["the same command", "--resume"])
def test_a_run_without_a_checkpoint_begins_again(
    again: str, built_in: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    settings = replace(built_in, out="run")
    killed_early(settings, monkeypatch)
    if again == "--resume":
        run = run_resume("run")
        assert "run has no checkpoint yet: it starts from the beginning." in capsys.readouterr().out
    else:
        with pytest.raises(RunFolderError, match="where a run with other settings began"):
            run_train(settings.with_options(kl_coef=0.5))
        run = run_train(settings)
    assert same_weights(run, whole)


def test_a_run_with_a_checkpoint_is_not_begun_again(built_in: TrainSettings, copied: Path) -> None:
    with pytest.raises(RunFolderError, match="holds a run"):
        run_train(replace(built_in, out="copied"))
    Path("others").mkdir()
    Path("others/notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds other files"):
        run_train(replace(built_in, out="others"))
    assert os.listdir("others") == ["notes.txt"]


# ------------------------------------------------------------------- other data
def test_what_was_measured_before_is_of_the_same_data(
    settings: TrainSettings, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed between its first measures and its first checkpoint keeps the former."""
    shutil.copy(data, "notes.jsonl")
    killed_early(replace(settings, choice=replace(settings.choice, data="notes.jsonl"), reward="rouge"), monkeypatch)
    assert Path("run/texts-before.jsonl").is_file()
    Path("notes.jsonl").write_text(Path("notes.jsonl").read_text().replace("opened on day", "closed on day"))
    with pytest.raises(DataError, match=r"expected the data that the run began with.*--accept-changed-data"):
        run_resume("run")
    run_resume("run", accept_changed_data=True)


def test_changed_data_is_noticed(
    settings: TrainSettings, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(data, "notes.jsonl")
    choice = replace(settings.choice, data="notes.jsonl")
    run_train(replace(settings, choice=choice, reward="rouge", steps=48))
    lines = Path("notes.jsonl").read_text().splitlines(keepends=True)
    changes = {
        "reordered": lines[::-1],
        "removed": lines[1:],
        "references": [lines[0].replace("opened on day 0", "closed on day 0"), *lines[1:]],
    }
    for changed in changes.values():
        Path("notes.jsonl").write_text("".join(changed))
        with pytest.raises(DataError, match=r"expected the data that the run began with.*--accept-changed-data"):
            run_resume("run")
    capsys.readouterr()
    run_resume("run", accept_changed_data=True)
    assert "continuing with changed data" in capsys.readouterr().err
    run_resume("run")  # what was accepted is what is compared with from now on


def test_other_versions_are_said(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder("copied")
    config = run.config()
    run.write_config({**config, "versions": {**config["versions"], "torch": "1.0.0"}})
    run_resume("copied")
    assert "the run began with torch 1.0.0 (now 2." in capsys.readouterr().err


# ------------------------------------------------------- signals and full disks
@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as in a terminal: whoever runs tests in the background may have them ignored."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_ask_to_stop(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with stop_on_request("finishing") as request:
        signal.raise_signal(number)
        assert request.wanted
        assert request.signal == number
        signal.raise_signal(signal.SIGHUP)  # a terminal that closes sends it more than once
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("usual_signals")
def test_a_second_sigterm_stops_at_once_and_an_ignored_signal_stays_ignored() -> None:
    with stop_on_request("finishing"):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals_as_interrupts(), stop_on_request("finishing") as request:
            signal.raise_signal(signal.SIGHUP)
            assert not request.wanted
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.usefixtures("usual_signals")
def test_sigterm_outside_of_training_is_an_interrupt(copied: Path) -> None:
    run = RunFolder("copied")
    with pytest.raises(RunInterrupted, match="Resume from") as caught, signals_as_interrupts(), advising(run, "train"):
        signal.raise_signal(signal.SIGTERM)
    assert report_interrupt(caught.value) == 128 + signal.SIGTERM == 143


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_resumed_run_loads_tells_how_to_go_on(
    number: int, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "make_env", lambda settings: signal.raise_signal(number))
    with pytest.raises(RunInterrupted, match="Resume from the last checkpoint with: textgym train --resume copied"):
        run_resume("copied")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_a_shell(lm: str, number: int, code: int) -> None:
    usual = f"import signal; signal.signal({number}, signal.SIG_DFL); "  # ignored where tests run under nohup
    main = usual + "import torch; torch.set_num_threads(1); from textgym.cli import main; main()"
    arguments = (
        f"train --model {lm} --reward rouge --steps 40000 --n-envs 6 --eval-prompts 2 --max-new-tokens 8 --out r"
    )
    command = [sys.executable, "-P", "-c", main, *arguments.split()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not Path("r/log.jsonl").exists() and process.poll() is None:  # however slow the machine is
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code, out + err
    assert "textgym train --resume r" in " ".join(err.split())
    assert any(Path("r/checkpoints").glob("step-*"))


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_last_checkpoint(
    built_in: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, calls = checkpoint._fill, [0]

    def fill_once(*arguments: Any) -> None:
        calls[0] += 1
        fill(*arguments) if calls[0] < 3 else full()

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_fill", fill_once)
        with pytest.raises(DiskFullError, match=r"room to write .*step-0000000144.*No space left.*free some") as caught:
            run_train(replace(built_in, out="run"))
    assert "textgym train --resume run" in caught.value.__notes__[0]
    assert sorted(os.listdir("run/checkpoints")) == ["step-0000000048", "step-0000000096"]
    assert same_weights(run_resume("run"), whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_limit_of_the_system_is_a_full_disk_too() -> None:
    import resource

    checkpoint.write_checkpoint(Path("c"), {"a": torch.zeros(50_000)}, {"kind": "x"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match="expected room to write 'c', got:"):
            checkpoint.write_checkpoint(Path("c"), {"a": torch.ones(50_000)}, {"kind": "x"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir() == ["c"]
    assert not checkpoint.read_checkpoint(Path("c"), "x")[0]["a"].any()


def limited(save: Callable[..., Any]) -> Callable[..., Any]:
    """Let files be no larger than 2,000 bytes while ``save`` runs."""
    import resource

    def run(*arguments: Any, **named: Any) -> Any:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        try:
            return save(*arguments, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_no_room_for_the_trained_model(
    built_in: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CausalLM, "save_pretrained", limited(CausalLM.save_pretrained))
        with pytest.raises(DiskFullError, match=r"room to write .*run/model', got: .*os error 27.*free some") as caught:
            run_train(replace(built_in, save_every=100, out="run"))
    assert "textgym train --resume run" in caught.value.__notes__[0]
    assert same_weights(run_resume("run"), whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_no_room_for_a_model_of_any_kind(lm: str) -> None:
    model = load_language_model(lm)
    for name, save in (("model", model.save_pretrained), ("reward", PreferenceRewardModel(model).save)):
        with pytest.raises(DiskFullError, match=rf"room to write '.*{name}.*', got: "):
            limited(save)(name)
    assert not Path("reward").exists()


def test_a_reward_model_that_cannot_be_replaced_stays(lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PreferenceRewardModel(load_language_model(lm))
    model.save("reward")
    rename, card = Path.rename, Path("reward/reward_model.json").read_text()

    def fails(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output error"):
        model.save("reward")
    assert os.listdir() == ["reward"]
    assert Path("reward/reward_model.json").read_text() == card


HALF = """
import resource
from textgym.errors import DiskFullError
from textgym.training.run_folder import RunFolder
run = RunFolder.create("run", "train", {})
run.append_log({"timesteps": 1})
size = (run.path / "log.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, resource.RLIM_INFINITY))
try:
    run.append_log({"timesteps": 2})
except DiskFullError as error:
    print(error)
print((run.path / "log.jsonl").stat().st_size - size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run.append_log({"timesteps": 3})
print([row["timesteps"] for row in run.log()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_line_that_does_not_fit_leaves_no_half_of_it() -> None:
    shown = subprocess.run([sys.executable, "-c", HALF], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "log.jsonl', got: [Errno 27]" in shown[0]
    assert shown[1:] == ["0", "[1, 3]"]


def test_logs_that_fail_stop_nothing(
    built_in: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append, calls = RunFolder.append_log, [0]

    def fails_at_first(self: RunFolder, record: Any) -> None:
        calls[0] += 1
        full() if calls[0] < 3 else append(self, record)

    monkeypatch.setattr(RunFolder, "append_log", fails_at_first)
    monkeypatch.setattr(RunFolder, "append_samples", full)
    monkeypatch.setattr(RunFolder, "write_samples_table", full)
    monkeypatch.setattr("textgym.training.curves.plot_kl", full)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    run = run_train(replace(built_in, out="run"))
    assert same_weights(run, whole)
    assert [row["timesteps"] for row in run.log()] == [48, 96, 144]  # written as soon as there was room
    said = " ".join(capsys.readouterr().err.split())
    for what in ("log.jsonl", "samples.jsonl", "the log of TensorBoard", "a plot", "samples.md"):
        assert said.count(f"{what} could not be written ([Errno 28] No space left on device)") == 1, what


def test_a_tensorboard_folder_that_cannot_be_made(
    built_in: TrainSettings, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stable_baselines3.common.logger.SummaryWriter", full)
    assert same_weights(run_train(replace(built_in, out="run")), whole)


# ----------------------------------------------------------------- other things
def test_the_folder_stays_where_it_was_meant(built_in: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("elsewhere").mkdir()
    announce = pipeline.announce

    def wander(training: Any) -> None:
        announce(training)
        monkeypatch.chdir("elsewhere")

    monkeypatch.setattr(pipeline, "announce", wander)
    home = Path.cwd()
    run_train(replace(built_in, steps=48, out="run"))
    assert (home / "run" / "summary.json").is_file()
    assert os.listdir(home / "elsewhere") == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB). Tried to allocate 256 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_says_what_to_lower(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught, advising(RunFolder("nothing"), "train"):
        raise error
    assert report(caught.value, False) == cli.FAILED
    said = capsys.readouterr().err
    assert "--micro-batch-size" in said
    assert "--n-envs" in said
    assert "--resume" not in said  # there is nothing to go on from


@pytest.mark.parametrize("command", ["train", "sft", "reward fit", "rlhf", "evaluate", "generate", "feedback sample"])
def test_what_to_lower_is_what_the_command_has(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("textgym.models.causal_lm.CausalLM.__init__", exhausted)
    project = {"feedback sample": ["project.db"], "generate": ["TextSumm-v0"]}.get(command, [])
    shown = CliRunner().invoke(cli.app, [*command.split(), *project])
    assert shown.exit_code == cli.FAILED, shown.stderr
    (advice,) = re.findall(r"Memory ran out\. Lower .*?smaller model\.", " ".join(shown.stderr.split()))
    options = re.findall(r"--[a-z-]+", advice)
    known = CliRunner().invoke(cli.app, [*command.split(), "--help"]).stdout
    assert options
    assert [option for option in options if option not in known] == []


def test_out_of_memory_while_a_run_is_built_says_what_to_lower(
    built_in: TrainSettings, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(settings: TrainSettings) -> None:
        raise MemoryError

    monkeypatch.setattr(preparation, "make_env", exhausted)
    for go in (lambda: run_train(replace(built_in, out="run")), lambda: run_resume("copied")):
        with pytest.raises(MemoryError) as caught:
            go()
        assert "--n-envs" in caught.value.__notes__[0]


@pytest.mark.parametrize("name", ["n_envs", "n_steps", "batch_size", "eval_prompts", "max_new_tokens"])
def test_absurd_sizes_are_refused_by_name(name: str, built_in: TrainSettings, copied: Path) -> None:
    run = RunFolder("copied")
    config = run.config()
    train = config["train"]
    (train["options"] if name in ("n_steps", "batch_size") else train)[name] = 10**12
    run.write_config(config)
    with pytest.raises(ValueError, match=f"expected {name} of at most .*, got 1000000000000"):
        run_resume("copied")
    with pytest.raises(ValueError, match="n_envs of at most 65,536"):
        replace(built_in, n_envs=10**6)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        SafetensorError("Error while opening: Cannot allocate memory (os error 12)"),
    ],
)
def test_a_model_that_is_too_large_is_not_damaged(error: Exception, lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error says to fetch it again, or to fix it."""

    def exhausted(*arguments: Any, **named: Any) -> None:
        raise error

    PreferenceRewardModel(load_language_model(lm)).save("reward")
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", exhausted)
    for load, folder in ((load_language_model, lm), (PreferenceRewardModel, lm), (load_reward, "reward")):
        with pytest.raises(type(error)) as caught:
            load(folder)
        assert caught.value is error


ENVS = "from textgym.cli.app import main; main()"


def shell(command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    script = f'"{sys.executable}" -c "{ENVS}" {command}'
    known = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    return subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, env={**known, **env})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
@pytest.mark.parametrize("command", ["envs | head -1", "--help | head -1", "envs >&-", "envs 2>&-", "envs > /dev/full"])
def test_nobody_reads_the_output(command: str) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    shown = shell(command)
    assert shown.returncode == 0, shown.stderr
    assert b"Traceback" not in shown.stderr
    assert b"Exception ignored" not in shown.stderr


class Broken(io.StringIO):
    """A stream that nobody reads, or whose disk is full."""

    name = "<broken>"

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


def test_printing_never_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    console.say("nobody reads this")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(console._Stream, "failed", set())
    monkeypatch.setattr(sys, "stdout", Broken(OSError(errno.ENOSPC, "No space left on device")))
    for _ in range(3):
        console.say("there is no room for this")
    assert capsys.readouterr().err.count("could not print to <broken>") == 1
    monkeypatch.setattr(sys, "stdout", None)
    console.say("there is no such stream")


def test_a_broken_pipe_of_somebody_else_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert not reader_is_gone(BrokenPipeError("of a reward's own connection"))


def test_a_stream_takes_what_its_encoding_has(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    console.say("Café 東京 and more")
    assert raw.getvalue() == b"Caf? ?? and more\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_a_plain_c_locale_and_a_path_beyond_ascii(lm: str, data: str) -> None:
    shutil.copy(data, "Käse 東京.jsonl")
    columns = "--data 'Käse 東京.jsonl' --prompt-column doc --reference-column sum --reward rouge"
    sizes = "--steps 48 --n-envs 6 --n-steps 8 --batch-size 16 --max-new-tokens 8 --eval-prompts 2"
    shown = shell(f"train --model {lm} {columns} {sizes} --out 'Läufe/é' | head -1", LC_ALL="C", PYTHONUTF8="0")
    assert shown.returncode == 0, shown.stderr.decode()
    assert RunFolder("Läufe/é").summary()["after"]
    again = shell("train --resume 'Läufe/é'", LC_ALL="C", PYTHONUTF8="0")
    assert again.returncode == 0, again.stderr.decode()
