"""Folders of models: the error of a run folder without the wanted model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgym.errors import CheckpointError
from textgym.hub import Kind, resolve_folder
from textgym.training.run_folder import RunFolder


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


@pytest.mark.parametrize("name", ["chat_template.jinja", "generation_config.json", "merges.txt", "config.json"])
def test_a_model_whose_texts_are_links_to_other_places_is_refused(name: str, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "run" / "model"
    secret.write_text("{}")
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    (folder / name).symlink_to(secret)
    for named in (folder, folder.parent):
        with pytest.raises(CheckpointError, match="expected the files of a model in its own folder, got a link"):
            resolve_folder(named)


def test_links_of_caches_and_weights_are_fine(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    blobs, weights = tmp_path / "models--a--b" / "blobs", tmp_path / "weights"
    blobs.mkdir()
    (blobs / "4567").write_text("{}")
    weights.touch()
    (folder / "config.json").symlink_to("../../blobs/4567")
    (folder / "model.safetensors").symlink_to(weights)
    (folder / "vocab.txt").symlink_to("config.json")
    (tmp_path / "link").symlink_to(folder)
    assert resolve_folder(tmp_path / "link") == tmp_path / "link"
    (blobs / "4567").unlink()
    (blobs / "4567").symlink_to(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="got a link"):
        resolve_folder(folder)
