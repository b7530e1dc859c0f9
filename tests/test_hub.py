"""Folders of models: what a run folder without the wanted model is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgym.errors import CheckpointError
from textgym.hub import Kind, resolve_folder
from textgym.runs import RunFolder


@pytest.mark.parametrize(
    ("command", "kind", "advice"),
    [
        ("train", "model", "finish it with: textgym train --resume .*run"),
        ("demo", "model", "finish it with: textgym train --resume .*run"),
        ("sft", "model", "finish it with: textgym sft --resume .*run"),
        ("reward fit", "model", "makes none; give a run of `textgym sft` or `textgym train`"),
        ("evaluate", "model", "makes none"),
        ("reward fit", "reward", "finish it with: textgym reward fit --resume .*run"),
        ("train", "reward", "makes none; give a run of `textgym reward fit`"),
    ],
)
def test_a_run_without_the_wanted_model(tmp_path: Path, command: str, kind: Kind, advice: str) -> None:
    run = RunFolder.create(tmp_path / "run", command, {"model": "tiny"})
    if command in ("train", "demo"):
        (run.checkpoints / "step-0000000048").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=f"a run of `textgym {command}`,? .*{advice}"):
        resolve_folder(run.path, kind=kind)


def test_a_run_with_the_wanted_model_and_a_model_folder(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {})
    run.model.mkdir()
    (run.model / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert resolve_folder(run.path) == run.model
    assert resolve_folder(run.model) == run.model
