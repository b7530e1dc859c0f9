"""Runs in a line: what they were, how far they came, and why some cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs_made_up import EVIL, finish, interval, make_run
from textgym.errors import RunFolderError
from textgym.training.run_facts import Change, RunFacts, list_runs, read_facts
from textgym.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def facts(path: str | Path) -> RunFacts:
    return read_facts(Path(path))


def test_a_finished_training() -> None:
    finish(make_run(Path("runs/a")))
    found = facts("runs/a")
    assert (found.folder, found.state, found.reason) == ("runs/a", "finished", "")
    assert (found.command, found.task, found.agent, found.reward) == ("train", "TextSpell-v0", "ppo", "letters")
    assert (found.rewards, found.gold) == (Change(0.25, 0.5), Change(0.125, 0.25))
    assert (found.trained, found.unit, found.seconds) == (200.0, "tokens", 7.0)
    assert json.loads(json.dumps(found.as_json()))["rewards"] == {"before": 0.25, "after": 0.5}


def test_states_follow_from_what_is_there() -> None:
    run = make_run(Path("a"))
    assert facts("a").state == "unfinished"
    assert facts("a").rewards == Change(0.25, None)
    with run:
        assert facts("a").state == "running"
    with pytest.raises(FloatingPointError), RunFolder.open("a"):
        raise FloatingPointError("the loss is NaN")
    assert (facts("a").state, facts("a").reason) == ("failed", "FloatingPointError: the loss is NaN")
    with pytest.raises(KeyboardInterrupt), RunFolder.open("a"):
        raise KeyboardInterrupt
    assert facts("a").state == "unfinished"  # an interrupt is no failure
    finish(run)
    assert facts("a").state == "finished"


@pytest.mark.parametrize(
    ("command", "settings", "summary", "expected"),
    [
        (
            "evaluate",
            {},
            {"before": {"reward": interval(0.5)}, "seconds": {"total": 1}},
            (Change(None, 0.5), "finished"),
        ),
        ("reward fit", {}, {"accuracy": interval(0.75), "seconds": {"total": 1}}, (Change(), "finished")),
        ("rlhf", {"rounds": 2}, {"rounds": [{}, {}], "seconds": {"total": 1}}, (Change(), "unfinished")),
        ("rlhf", {"rounds": 2}, {"rounds": [{}, {}, {}], "seconds": {"total": 1}}, (Change(), "finished")),
        ("compare", {"agents": {"a": "ppo"}, "seeds": 1}, {}, (Change(), "unfinished")),
        ("compare", {"agents": {}, "seeds": 0}, {}, (Change(), "unfinished")),
    ],
)
def test_other_commands(command: str, settings: dict[str, Any], summary: dict[str, Any], expected: object) -> None:
    run = RunFolder.create("run", command, settings)
    run.write_summary(summary)
    run.__exit__(None, None, None)
    assert (facts("run").rewards, facts("run").state) == expected


def test_rounds_tell_gold_of_the_first_and_the_last() -> None:
    run = RunFolder.create("run", "rlhf", {"rounds": 1})
    run.write_summary({"rounds": [{"gold": interval(0.25)}, {"gold": interval(0.5)}]})
    assert facts("run").gold == Change(0.25, 0.5)


def test_a_comparison_is_finished_with_its_last_record() -> None:
    run = RunFolder.create("run", "compare", {"agents": {"ppo": "ppo", "far": "ppo"}, "seeds": 1})
    run.__exit__(None, None, None)
    (run.path / "runs").mkdir()
    for label in ("ppo", "far"):
        assert facts("run").state == "unfinished"
        (run.path / "runs" / f"{label}-0.jsonl").write_text("")
    assert facts("run").state == "finished"
    assert facts("run").agent == "ppo, far"


def test_a_list_has_the_newest_first_and_looks_into_folders() -> None:
    for place, name in enumerate(("runs/old", "runs/new", "runs/deep/er", "runs/too/deep/run")):
        run = make_run(Path(name))
        run.write_config({**run.config(), "started": f"2030-01-0{place + 1} 00:00:00"})
    finish(RunFolder("runs/new"))
    Path("runs/empty").mkdir()
    Path("runs/file").write_text("")
    assert [each.folder for each in list_runs("runs")] == ["runs/deep/er", "runs/new", "runs/old"]
    assert [each.folder for each in list_runs("runs/new")] == ["runs/new"]  # and not the model in it
    with pytest.raises(RunFolderError, match="Did you mean 'runs'"):
        list_runs("rusn")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", "{", "expected JSON in"),
        ("config.json", "[]", "expected a JSON object"),
        ("config.json", "{}", "names no command"),
        ("config.json", '{"command": 3}', "names no command"),
        ("config.json", "[" * 100_000, "expected JSON in"),
        ("summary.json", "\x00", "expected JSON in"),
        ("failure.json", "3", "expected a JSON object"),
        ("config.json", None, "expected a run folder with a config.json"),
    ],
)
def test_damaged_folders_say_why_and_break_no_list(name: str, content: str | None, reason: str) -> None:
    make_run(Path("runs/sound"))
    damaged = make_run(Path("runs/damaged")).path / name
    damaged.unlink(missing_ok=True)
    if content is not None:
        damaged.write_text(content)
    states = {each.folder: each for each in list_runs("runs")}
    assert states["runs/sound"].state == "unfinished"
    assert states["runs/damaged"].state == "damaged"
    assert reason in states["runs/damaged"].reason


def test_values_of_other_kinds_are_left_out() -> None:
    run = make_run(Path("a"))
    huge = int("9" * 400)
    run.write_config(
        {**run.config(), "train": {"choice": [], "agent": {}, "reward": 3}, "started": 5, "unit": [], "reward": {}}
    )
    summary = {"before": {"reward": {"mean": huge}}, "after": {"reward": {"mean": "x"}}, "seconds": {"total": huge}}
    (run.path / "summary.json").write_text(json.dumps({**summary, "rounds": 3}))
    (run.path / "log.jsonl").write_text(f'{{"timesteps": {huge}}}\n')
    found = facts("a")
    assert (found.task, found.agent, found.reward, found.started) == ("", "", "", "")
    assert (found.rewards, found.seconds, found.trained) == (Change(), None, None)
    run.write_config({**run.config(), "train": {"choice": {"env_id": "x" * 1000}}, "command": EVIL})
    assert len(facts("a").task) < 300


def test_only_the_end_of_a_long_log_is_read() -> None:
    run = make_run(Path("a"))
    with (run.path / "log.jsonl").open("w") as log:
        log.write("no json\n" * 100_000 + '{"timesteps": 7}\n{"timest')
    assert facts("a").trained == 7


@pytest.mark.parametrize("name", ["config.json", "summary.json", "log.jsonl", "failure.json", "model"])
def test_links_and_pipes_are_not_followed(name: str) -> None:
    run = make_run(Path("runs/a"))
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    assert [each.state for each in list_runs("runs")] == ["damaged"]
    (run.path / name).unlink()
    Path("elsewhere").write_text('{"command": "train"}')
    (run.path / name).symlink_to(Path("elsewhere").absolute())
    assert [each.state for each in list_runs("runs")] == ["damaged"]
