"""A comparison from its first run to its last: resumed at any point, extended, and gone on with elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.comparison.conftest import BANDIT, OWN
from textgym.errors import CheckpointError, ConsentError, RunFailedError, RunFolderError
from textgym.training import train as pipeline
from textgym.training.comparison import (
    ComparisonSettings,
    RunRecord,
    markdown_of,
    read_comparison,
    read_record,
    resume_comparison,
    run_comparison,
)
from textgym.training.comparison import run as runs
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_folder import RunFolder

Make = Callable[..., ComparisonSettings]
CONSENT = [BANDIT, f"{OWN}:longest"]
pytestmark = pytest.mark.usefixtures("no_plots")


def files() -> list[str]:
    return sorted(path.name for path in Path("cmp/runs").glob("*"))


def measured(record: RunRecord) -> Any:
    """A record without what differs between two runs that are alike: times and memory."""
    points = [(point.spent.labels, point.measures) for point in record.points]
    return points, record.before, record.after, record.samples, record.steps, record.settings


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The work that is done from now on."""
    done: list[str] = []
    do = runs._do

    def remember(job: Any, worker: str, apart: bool, what: str) -> Any:
        done.append(what)
        return do(job, worker, apart, what)

    monkeypatch.setattr(runs, "_do", remember)
    return done


def test_every_agent_runs_with_every_seed(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = run_comparison(settings(option=["TextBandit:rate=2.0"]), apart=False)
    assert files() == [f"{label}-{seed}.jsonl" for label in ("TextBandit", "scripted") for seed in (0, 1)]
    assert sorted(path.name for path in Path("cmp/training").iterdir()) == [name.partition(".")[0] for name in files()]
    bandit, script = comparison.runs_of("TextBandit")[0], comparison.runs_of("scripted")[0]
    assert (bandit.steps, bandit.planned, bandit.unit, bandit.spent.labels) == (40, 40, "texts", 40)
    assert [point.spent.labels for point in bandit.points] == [0, 12, 20, 32, 40]  # at quarters of 10 iterations of 4
    assert bandit.before["reward"].mean != bandit.after["reward"].mean
    assert bandit.settings["options"] == {"rate": 2.0}
    assert (script.learns, script.before, script.spent.labels, len(script.points)) == (False, {}, 0, 1)
    assert {sample.key for sample in bandit.samples} == {sample.key for sample in script.samples}
    assert bandit.memory is None  # one process makes all runs: none of them has a memory of its own
    assert read_comparison("cmp") == comparison
    assert RunFolder("cmp/training/TextBandit-0").log()[-1]["timesteps"] == 40
    assert Path("cmp/.gitignore").read_text() == "/training/\n/.lock\n"
    said = capsys.readouterr().out
    assert said.index("TextBandit, seed 0 (run 1 of 4)") < said.index("scripted, seed 0 (run 2 of 4)")
    assert "scripted has the highest reward" in said


def test_it_goes_on_between_runs(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_comparison(settings(out="whole"), apart=False)

    def impatient(record: RunRecord, seconds_left: float) -> None:
        if record.label == "scripted":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_say_result", impatient)
        with pytest.raises(
            RunInterrupted, match=rf"textgym compare --resume cmp --agent {BANDIT} --reward {OWN}:longest"
        ):
            run_comparison(settings(), apart=False)
    assert files() == ["TextBandit-0.jsonl", "scripted-0.jsonl"]
    done = counted(monkeypatch)
    again = resume_comparison("cmp", CONSENT, apart=False)
    assert done == ["TextBandit, seed 1", "scripted, seed 1"]
    assert list(map(measured, again.runs)) == list(map(measured, whole.runs))
    assert resume_comparison("cmp", CONSENT, apart=False) == again  # nothing is left to do
    assert len(done) == 2


@pytest.mark.parametrize("moment", [2, 15])  # before the first checkpoint, after 10 iterations, and after it
def test_it_goes_on_within_a_run(moment: int, settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"budget": "labels=40", "n_envs": 2, "seeds": 1}
    whole = run_comparison(settings(BANDIT, out="whole", **changes), apart=False)
    iterations: list[int] = []

    def impatient(self: Any) -> None:
        iterations.append(1)
        if len(iterations) == moment:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.RunCallback, "_on_rollout_end", impatient)
        with pytest.raises(RunInterrupted, match="textgym compare --resume cmp"):
            run_comparison(settings(BANDIT, **changes), apart=False)
    assert files() == []
    assert Path("cmp/training/TextBandit-0/checkpoints").is_dir() == (moment > 10)
    again = run_comparison(settings(BANDIT, **changes), apart=False)  # the same command goes on, too
    assert list(map(measured, again.runs)) == list(map(measured, whole.runs))


def test_agents_and_seeds_are_added(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    done = counted(monkeypatch)
    more = run_comparison(settings("scripted", f"slow={BANDIT}", option=["slow:rate=0.01"]), apart=False)
    assert done == ["scripted, seed 0", "slow, seed 0", "scripted, seed 1", "slow, seed 1"]
    assert more.labels == ["TextBandit", "scripted", "slow"]
    assert [run.settings["options"] for run in more.runs_of("slow")] == [{"rate": 0.01}] * 2
    done.clear()
    assert len(resume_comparison("cmp", CONSENT, apart=False).runs) == 6  # all agents with all seeds
    assert done == ["TextBandit, seed 1"]


def test_finished_runs_go_on_in_another_checkout(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_comparison(settings(), apart=False)
    Path("elsewhere").mkdir()
    for name in ("config.json", "runs", ".gitignore"):
        copy = shutil.copytree if Path("cmp", name).is_dir() else shutil.copy
        copy(Path("cmp", name), Path("elsewhere", name))
    shutil.rmtree("cmp")
    done = counted(monkeypatch)
    assert run_comparison(settings(out="elsewhere"), apart=False).runs == first.runs
    assert done == []
    run_comparison(settings(out="elsewhere", seeds=3), apart=False)
    assert done == ["TextBandit, seed 2", "scripted, seed 2"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"budget": "labels=44"}, "expected the settings of the comparison in 'cmp', got budget=\"labels=44\""),
        ({"eval_prompts": 2}, "got eval_prompts=2 in place of 3"),
        ({"option": ["TextBandit:rate=0.1"]}, "expected 'TextBandit' with the options that it has in 'cmp'"),
    ],
)
def test_runs_of_other_settings_are_not_mixed(changes: dict[str, Any], error: str, settings: Make) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    with pytest.raises(RunFolderError, match=error):
        run_comparison(settings(BANDIT, seeds=1, **changes), apart=False)
    record = Path("cmp/runs/TextBandit-0.jsonl")
    record.write_text(record.read_text().replace('"labels=40"', '"labels=41"'))
    with pytest.raises(CheckpointError, match=r"got one with other settings \(budget\); move it elsewhere"):
        read_comparison("cmp")


def test_a_record_under_another_name_is_refused(settings: Make) -> None:
    run_comparison(settings("scripted", seeds=1), apart=False)
    shutil.copy("cmp/runs/scripted-0.jsonl", "cmp/runs/scripted-1.jsonl")
    with pytest.raises(CheckpointError, match="the name 'scripted-0'; move it elsewhere"):
        read_comparison("cmp")


def test_a_run_folder_of_other_settings_is_not_gone_on_with(settings: Make) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    Path("cmp/runs/TextBandit-0.jsonl").unlink()
    run = RunFolder("cmp/training/TextBandit-0")
    config = run.config()
    run.write_config({**config, "settings": {**config["settings"], "seed": 5}})
    with pytest.raises(RunFolderError, match="got one with others; remove the folder"):
        run_comparison(settings(BANDIT, seeds=1), apart=False)


def test_names_in_a_folder_are_imported_only_with_consent(settings: Make) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    with pytest.raises(ConsentError, match=f"textgym compare --resume cmp --agent {BANDIT}"):
        resume_comparison("cmp", apart=False)
    with pytest.raises(ValueError, match="expected a name that stands in the run's own settings"):
        resume_comparison("cmp", [*CONSENT, "json:dumps"], apart=False)
    read_comparison("cmp")  # which imports nothing


def test_a_run_that_diverges_is_a_result(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Any) -> None:
        if self.model.seed == 1 and self.model.num_timesteps >= 20:
            raise FloatingPointError("expected a finite loss, got nan")

    monkeypatch.setattr(pipeline.RunCallback, "_on_rollout_end", diverge)
    comparison = run_comparison(settings(), apart=False)
    good, bad = comparison.runs_of("TextBandit")
    assert (good.failure, bad.failure) == (None, "expected a finite loss, got nan")
    assert (bad.after, len(bad.points)) == ({}, 2)
    assert bad.before
    assert comparison.finished("TextBandit") == [good]
    assert "1 of 2 runs failed" in markdown_of(comparison)


def test_another_error_of_a_run_stops_the_comparison_and_says_how_to_go_on(
    settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Any, worker: str, apart: bool, what: str) -> Any:
        raise RunFailedError(f"{what}: the machine is on fire")

    monkeypatch.setattr(runs, "_do", fail)
    with pytest.raises(RunFailedError, match="TextBandit, seed 0: the machine is on fire") as caught:
        run_comparison(settings(), apart=False)
    assert "textgym compare --resume cmp" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "./nothing"}, "got './nothing', which does not exist"),
        ({"reward": "rogue"}, "Did you mean 'rouge'"),
        ({"option": ["scripted:script=nothing"]}, "expected script"),
    ],
)
def test_mistakes_leave_no_folder(changes: dict[str, Any], error: str, settings: Make) -> None:
    with pytest.raises((ValueError, RunFailedError), match=error):
        run_comparison(settings("scripted", **changes), apart=False)
    assert not Path("cmp/runs").exists() or files() == []


def test_an_environment_of_whole_texts_is_none_for_agents_of_tokens(settings: Make) -> None:
    made = settings("ppo")
    whole = replace(made, choice=replace(made.choice, env_id="TextSummEpisode-v0"))
    with pytest.raises(ValueError, match="expected a token-level environment"):
        run_comparison(whole, apart=False)


def test_a_language_model_is_compared_with_where_it_started(settings: Make, data: str) -> None:
    """One iteration of REINFORCE: tokens are counted, and the KL is to the start model."""
    made = settings("reinforce,random", budget="tokens=4", seeds=1, reward="rouge")
    comparison = run_comparison(made, apart=False)
    run = comparison.runs_of("reinforce")[0]
    assert (run.steps, run.spent.tokens, run.spent.labels, run.unit) == (4, 4, 4, "tokens")
    assert set(run.after) >= {"reward", "kl", "length", "diversity"}
    assert run.before["kl"].mean == 0.0
    start = comparison.start("reward")
    assert start is not None
    assert start.mean == pytest.approx(run.before["reward"].mean)
    assert "kl" not in comparison.runs_of("random")[0].after
    assert Path("cmp/training/reinforce-0/model/model.safetensors").is_file()


def test_what_a_record_says_is_what_the_folder_holds(settings: Make) -> None:
    run_comparison(settings(BANDIT, seeds=1), apart=False)
    record, summary = read_record(Path("cmp/runs/TextBandit-0.jsonl")), RunFolder("cmp/training/TextBandit-0").summary()
    assert record.after["reward"].mean == pytest.approx(summary["after"]["reward"]["mean"], rel=1e-5)
