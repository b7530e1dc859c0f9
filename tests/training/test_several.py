"""A run in several processes: one folder, one voice, the same result after an interruption, and clear ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.process_groups import ROOT, torchrun
from textgym import console
from textgym.agents.common.distributed import Communicator, current
from textgym.agents.common.lock_step import in_lock_step
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError, RankLostError
from textgym.training.run_folder import RunFolder
from textgym.training.setup import own_copies
from textgym.training.several import Plan, follow, follow_resumed, require_together, wait_for_plan
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import TrainSettings, train_settings

HERE = "tests.training.test_several"
WORD = "--n-envs 4 --n-steps 12 --batch-size 16 --steps 240 --save-every 2 --eval-prompts 2 --lr 0.003".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def audible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that take turns have one console, which the first needs."""
    monkeypatch.setattr(console, "mute", lambda: None)


def settings_of(agent: str, **changes: Any) -> TrainSettings:
    values = {"steps": 96, "n_envs": 4, "eval_prompts": 2, "save_every": 2, "out": "run", **changes}
    if agent == "ppo":
        values = {"n_steps": 6, "batch_size": 12, **values}
    return train_settings(EnvChoice("TextSpell-v0"), agent, model="letters", **values)


def together(settings: TrainSettings) -> list[Any]:
    """Run the first process and one that follows, in turns."""

    def work(ranks: Communicator) -> Any:
        return run_train(settings) if ranks.rank == 0 else follow(settings, ranks)

    return in_lock_step(2, work)


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    newest = max(run.checkpoints.glob("step-*"))
    return load_file(newest / "tensors.safetensors")


def same_tensors(left: RunFolder, right: RunFolder) -> bool:
    first, second = weights(left), weights(right)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("agent", ["ppo", "sft"])
def test_two_ranks_leave_one_run_folder_and_speak_once(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, nothing = together(settings_of(agent, steps=48 if agent == "ppo" else 8))
    assert nothing is None
    said = capsys.readouterr().out
    assert "2 processes. " in " ".join(said.split())
    assert said.count("held-out prompts, temperature 1") == 1
    assert run.config()["processes"] == 2
    steps = [row["timesteps"] for row in run.log()]
    assert steps == ([24, 48] if agent == "ppo" else [8])
    assert (run.model / "config.json").is_file()
    state = json.loads((max(run.checkpoints.glob("step-*")) / "state.json").read_text())
    assert len(state.get("other_ranks", [])) == (1 if agent == "ppo" else 0)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit_in_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"steps": 72, "reward": f"{HERE}:breaks_at_last"}
    whole, _ = together(settings_of("ppo", out="whole", **settings))
    with monkeypatch.context() as patch:
        patch.setenv("TEXTGYM_TEST_BREAK", "1")
        CALLS.clear()
        with pytest.raises(ZeroDivisionError):
            together(settings_of("ppo", out="cut", **settings))
    cut = RunFolder("cut")
    assert max(path.name for path in cut.checkpoints.glob("step-*")) == "step-0000000048"
    names = [f"{HERE}:breaks_at_last"]
    with pytest.raises(
        CheckpointError, match=r"expected 2 processes, as 'cut' began with, got 1; .*torchrun --nproc_p"
    ):
        run_resume("cut", names)

    def work(ranks: Communicator) -> Any:
        if ranks.rank == 0:
            return run_resume("cut", names)
        return follow_resumed("cut", names, command="train", ranks=ranks)

    resumed, _ = in_lock_step(2, work)
    assert same_tensors(resumed, whole)
    keys = ("timesteps", "reward", "kl", "loss", "grad_norm")
    assert [[row[key] for key in keys] for row in resumed.log()] == [[row[key] for key in keys] for row in whole.log()]


CALLS: list[int] = []


def breaks_at_last(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """The reward of the task, which fails in the second rank, once it was called often enough."""
    CALLS.append(current().rank)
    if os.environ.get("TEXTGYM_TEST_BREAK") and CALLS.count(1) > 4:
        raise ZeroDivisionError("the reward is broken")
    from textgym.rewards import resolve_reward

    return list(resolve_reward("letters")(prompts, responses, examples))


def test_the_first_rank_asks_all_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from textgym.training import callbacks
    from textgym.training.interrupts import RunInterrupted

    flush = callbacks.RunCallback.flush

    def impatient(self: Any) -> None:
        flush(self)
        self._request.wanted = self._request.wanted or len(self.model.history) == 1

    monkeypatch.setattr(callbacks.RunCallback, "flush", impatient)
    ends: dict[int, str] = {}

    def work(ranks: Communicator) -> None:
        settings = settings_of("ppo")
        try:
            run_train(settings) if ranks.rank == 0 else follow(settings, ranks)
        except RunInterrupted as error:
            ends[ranks.rank] = error.advice

    in_lock_step(2, work)
    command = r"torchrun --nproc_per_node 2 \$\(which textgym\) train --resume run"
    assert re.search(rf"Checkpoint saved at 24 tokens. Resume with: {command}", ends[0])
    assert ends.keys() == {0, 1}
    assert [path.name for path in RunFolder("run").checkpoints.glob("step-*")] == ["step-0000000024"]


def test_agents_and_environments_that_cannot_be_shared_are_refused() -> None:
    def work(ranks: Communicator) -> list[int]:
        with pytest.raises(ValueError, match=r"agent that 2 processes can train, such as ppo, .*got 'random'"):
            require_together(settings_of("random"), ranks)
        with pytest.raises(ValueError, match=r"expected n_envs to be a multiple of the 2 processes.*got 5"):
            own_copies(settings_of("ppo", n_envs=5))
        assert list(own_copies(settings_of("sft"))) == [0, 1, 2, 3]
        return list(own_copies(settings_of("ppo")))

    assert in_lock_step(2, work) == [[0, 1], [2, 3]]
    require_together(settings_of("random"), current())


def test_a_muted_process_prints_errors_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(console._Stream, "muted", False)
    console.mute()
    for voice in (console.say, console.remark, console.warn, console.notice, console.heading):
        voice("nothing")
    with console.progress("nothing", 3, "steps") as ticker:
        ticker.advance(3)
    console.error("something")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Error: something\n")


def test_the_plan_of_the_first_rank_reaches_the_others() -> None:
    plan = Plan(steps=5, save_every=2, iterations=1, resumed=True, checkpoints="a", checkpoint="a/step-3")

    def work(ranks: Communicator) -> Plan:
        if ranks.rank == 0:
            plan.share(ranks)
            return plan
        return wait_for_plan(ranks)

    assert in_lock_step(3, work) == [plan] * 3


def test_who_follows_says_nothing_when_the_first_rank_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def work(ranks: Communicator) -> None:
        if ranks.rank == 0:
            raise KeyError("a mistake of the first rank")
        follow(settings_of("ppo"), ranks)

    with pytest.raises(KeyError):
        in_lock_step(2, work)
    assert capsys.readouterr().err == ""

    def lonely(ranks: Communicator) -> None:
        if ranks.rank:
            follow(settings_of("ppo"), ranks)

    with pytest.raises(RankLostError):
        in_lock_step(2, lonely)


# ------------------------------------------------------------------------------------------------- with torchrun itself
REWARD = """
import os, signal
from textgym.rewards import resolve_reward

calls = 0

def letters(prompts, responses, examples):
    global calls
    calls += 1
    if os.environ.get("DIE") == "killed" and os.environ["RANK"] == "1" and calls == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return resolve_reward("letters")(prompts, responses, examples)
"""


def script(folder: Path) -> str:
    """What ``which textgym`` finds where it is installed."""
    file = folder / "bin" / "textgym"
    file.parent.mkdir(exist_ok=True)
    file.write_text("from textgym.cli import main\n\nmain()\n")
    return str(file)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``command(processes, *arguments, **environment)``: ``textgym train`` under torchrun."""
    (tmp_path / "mortal.py").write_text(REWARD)

    def run(processes: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return torchrun(processes, [script(tmp_path), "train", *arguments], environment, cwd=tmp_path)

    return run


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_loses_no_iteration(command: Any, tmp_path: Path) -> None:
    given = ("TextSpell-v0", *WORD, "--reward", "mortal:letters")
    whole = command(2, *given, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("held-out prompts") == 2
    cut = command(2, *given, "--out", "cut", DIE="killed")
    assert cut.returncode != 0
    assert re.search(r"expected 2 processes, got no answer of another one: it has ended", cut.stderr)
    resume = ("--resume", "cut", "--reward", "mortal:letters")
    how = "torchrun --nproc_per_node 2 $(which textgym) train --resume cut --reward mortal:letters"
    assert how in " ".join(cut.stderr.split())
    saved = max(int(path.name.removeprefix("step-")) for path in (tmp_path / "cut" / "checkpoints").glob("step-*"))
    last = [json.loads(line)["timesteps"] for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()][-1]
    assert 0 < last <= saved < 240
    alone = command(1, *resume)
    assert alone.returncode != 0
    assert "expected 2 processes, as 'cut' began with, got 1" in " ".join(alone.stderr.split())
    resumed = command(2, *resume)
    assert resumed.returncode == 0, resumed.stderr
    assert same_tensors(RunFolder(tmp_path / "cut"), RunFolder(tmp_path / "whole"))


@pytest.mark.slow
def test_processes_of_torchrun_do_what_ranks_in_turns_do(command: Any, tmp_path: Path) -> None:
    given = {"n-envs": 4, "n-steps": 6, "batch-size": 12, "steps": 96, "eval-prompts": 2, "save-every": 2}
    arguments = ["TextSpell-v0", *(text for name, value in given.items() for text in (f"--{name}", str(value)))]
    done = command(2, *arguments, "--out", "processes")
    assert done.returncode == 0, done.stderr
    turns, _ = together(settings_of("ppo", out=str(tmp_path / "turns")))
    assert same_tensors(RunFolder(tmp_path / "processes"), turns)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_saves_a_checkpoint(number: int, tmp_path: Path) -> None:
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [script(tmp_path), "train", "TextSpell-v0", *WORD, "--steps", "500000", "--out", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "run" / "log.jsonl"
    process = subprocess.Popen(
        [*launcher, *arguments],
        cwd=tmp_path,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not (log.is_file() and len(log.read_text().splitlines()) >= 3) and time.monotonic() < deadline:
            time.sleep(0.2)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # as a terminal does
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Resume" in said
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_what_cannot_be_trained_so_is_said_once(command: Any) -> None:
    done = command(2, "TextSpell-v0", "--agent", "random")
    assert done.returncode != 0
    assert done.stderr.count("expected an agent that 2 processes can train") == 1
