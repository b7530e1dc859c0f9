"""The run folder: what is written can be read back, and nothing in use is overwritten."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from textgym.errors import CheckpointError, FolderInUseError
from textgym.files.locks import FolderLock
from textgym.training.run_folder import RunFolder, RunFolderError, intervals_as_json, write_json
from textgym.types import Interval
from textgym.versions import versions


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "train", {"seed": 3, "lr": 0.1})


def test_configuration(run: RunFolder) -> None:
    config = RunFolder.open(run.path).config()
    assert config["command"] == "train"
    assert config["seed"] == 3
    assert config["settings"] == {"seed": 3, "lr": 0.1}
    assert config["versions"] == versions()
    assert {"python", "torch", "textgym"} <= set(config["versions"])


def test_a_folder_in_use_is_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="in use"):
        RunFolder.create(run.path, "train", {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder.create(tmp_path / "file", "train", {})
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty", "train", {}).path.is_dir()


def test_the_outermost_block_releases_the_lock(run: RunFolder) -> None:
    with run:
        with run:
            pass
        with pytest.raises(FolderInUseError):
            RunFolder(run.path).__enter__()
    with RunFolder(run.path):
        pass


def test_default_names_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [RunFolder.create(None, "reward fit", {}).path for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(path.parent == Path("runs").absolute() and path.name.startswith("reward-fit-") for path in paths)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunFolderError, match="run folder"):
        RunFolder.open(tmp_path / "nothing")


def test_logs_are_cut_back_to_a_checkpoint(run: RunFolder) -> None:
    for step in (10, 20, 30):
        run.append_log({"timesteps": step, "reward": np.float32(0.5), "nan": math.nan})
        run.append_samples(step, {"key": f"text {step}"})
    run.truncate_logs(20)
    assert [row["timesteps"] for row in run.log()] == [10, 20]
    assert run.log()[0] == {"timesteps": 10, "reward": 0.5, "nan": None}
    assert [row["texts"]["key"] for row in run.samples()] == ["text 10", "text 20"]


def test_a_line_that_was_cut_off_is_dropped(run: RunFolder) -> None:
    run.append_log({"timesteps": 1})
    file = run.path / "log.jsonl"
    file.write_text(file.read_text() + '{"timesteps": 2, "rew')
    assert run.log() == [{"timesteps": 1}]
    file.write_text('{"timest\n{"timesteps": 2}\n')
    with pytest.raises(CheckpointError, match=r"log.jsonl:1"):
        run.log()


def test_rows_that_make_no_sense_are_dropped(run: RunFolder) -> None:
    run.append_log({"timesteps": 10, "reward": 0.5, "kl": math.nan})
    run.append_samples(10, {"key": "text"})
    for row in ({"timesteps": "x"}, {"reward": 1}, {"timesteps": 5, "kl": "x"}, {"timesteps": True}, {"timesteps": []}):
        run.append_log(row)
        run.append_row("samples.jsonl", row)
    for texts in (3, {"key": 3}, None):
        run.append_row("samples.jsonl", {"timesteps": 5, "texts": texts})
    with pytest.warns(UserWarning, match="dropped") as warned:
        run.truncate_logs(20)
    assert [str(each.message).split(" of ")[0] for each in warned] == ["dropped 5 rows", "dropped 8 rows"]
    assert run.log() == [{"timesteps": 10, "reward": 0.5, "kl": None}]
    assert run.samples() == [{"timesteps": 10, "texts": {"key": "text"}}]
    run.write_samples_table({"key": "prompt"})


@pytest.mark.parametrize("text", ["two\nlines", "\u2028 separator", "\ud800 half a pair", "| pipe \\ and ütf", ""])
def test_any_text_survives(run: RunFolder, text: str) -> None:
    run.append_samples(0, {"key": text})
    run.append_samples(1, {"key": text})
    assert [row["texts"]["key"] for row in run.samples()] == [text, text]
    run.write_samples_table({"key": text})
    lines = (run.path / "samples.md").read_text(encoding="utf-8", errors="surrogatepass").split("\n")
    rows = [line for line in lines if line.startswith(("| 0 |", "| 1 |"))]
    assert len(rows) == 2


def test_summary_is_valid_json_with_versions(run: RunFolder) -> None:
    assert run.summary() == {}
    measures = intervals_as_json({"gold": Interval(0.5, -math.inf, math.inf)})
    assert measures == {"gold": {"mean": 0.5, "low": None, "high": None}}
    run.write_summary({"before": measures, "after": measures, "seconds": {"total": 1.0}})
    summary = json.loads((run.path / "summary.json").read_text())
    assert set(summary) == {"before", "after", "seconds", "versions"}
    assert "NaN" not in (run.path / "summary.json").read_text()


def test_numpy_and_paths_are_json(tmp_path: Path) -> None:
    write_json(
        tmp_path / "x.json", {"a": np.int64(1), "b": np.array([0.5, math.nan]), "c": Path("d"), "e": (np.True_,)}
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1, "b": [0.5, None], "c": "d", "e": [True]}


def test_json_is_replaced_in_one_step(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("made_by", "advice"),
    [
        ("reward fit", "a run of `textgym reward fit`; resume it with `textgym reward fit --resume 'a b/round-1'`"),
        ("rlhf round", "a round of the run 'a b'; resume it with `textgym rlhf --resume 'a b'`"),
        ("evaluate", "a run of `textgym evaluate`, which cannot be resumed; start a new run"),
    ],
)
def test_a_run_of_another_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, advice: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create("a b/round-1", made_by, {"seed": 1})
    with pytest.raises(RunFolderError, match=re.escape(advice)):
        run.settings_of("train")
    run.write_config({**run.config(), "train": {"seed": 2}})  # demo and rounds train on their way
    assert run.settings_of("train", rounds=True) == {"seed": 2}


def test_a_damaged_configuration_is_named(run: RunFolder) -> None:
    (run.path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        run.config()


def tree(folder: Path) -> dict[str, str | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.mark.parametrize("config", [None, '{"model_type": "gpt2"}', "no JSON"])
def test_a_refused_folder_stays_as_it_was(tmp_path: Path, config: str | None) -> None:
    (tmp_path / ".important.new").mkdir()
    (tmp_path / ".stuff.old").mkdir()
    (tmp_path / ".important.new" / "thesis.txt").write_text("x")
    (tmp_path / ".notes.123.tmp").write_text("y")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match="holds other files"):
        RunFolder.create(tmp_path, "train", {})
    if config is not None:
        with pytest.raises((RunFolderError, CheckpointError)), RunFolder.open(tmp_path):
            pass
    assert tree(tmp_path) == before


def test_foreign_files_in_a_run_that_began_are_kept(run: RunFolder) -> None:
    run.__exit__(None, None, None)
    (run.path / ".lock").unlink()
    (run.path / ".notes.123.tmp").write_text("y")
    before = tree(run.path)
    with pytest.raises(RunFolderError, match="holds a run"):
        RunFolder.create(run.path, "train", {"seed": 3, "lr": 0.1})
    assert tree(run.path) == before
    (run.path / ".notes.123.tmp").rename(run.path / ".config.json.123.tmp")  # killed while it wrote this
    (run.checkpoints / ".step-0000000001.new").mkdir(parents=True)
    RunFolder.create(run.path, "train", {"seed": 3, "lr": 0.1}, ["checkpoints"])
    assert set(tree(run.path)) == {".lock", "config.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("ours", [False, True])
def test_a_lock_is_no_way_out_of_a_folder(tmp_path: Path, ours: bool) -> None:
    precious, folder = tmp_path / "precious.txt", tmp_path / "run"
    precious.write_text("x")
    folder.mkdir()
    if ours:
        (folder / "config.json").write_text('{"command": "train", "settings": {}}')
    (folder / ".lock").symlink_to(precious)
    with pytest.raises(RunFolderError, match="link"):
        RunFolder.create(folder, "train", {})
    with pytest.raises(RunFolderError, match=r"\.lock', got a link"):
        FolderLock(folder)
    assert precious.read_text() == "x"
    (folder / ".lock").unlink()
    os.mkfifo(folder / ".lock")
    with pytest.raises(RunFolderError, match="pipe"):
        FolderLock(folder)


def test_a_run_that_was_killed_at_its_first_file_begins_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".config.json.123.tmp").write_text('{"comm')
    with RunFolder.create(folder, "train", {}) as run:
        assert run.config()["command"] == "train"
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".config*"))
