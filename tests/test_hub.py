"""Folders of models: the error of a run folder without the wanted model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgym.errors import CheckpointError, RunFolderError
from textgym.hub import Kind, resolve_folder
from textgym.rewards import resolve_reward
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


@pytest.mark.parametrize("named", [".", "agent", "agent/"])
def test_a_run_that_holds_an_agent_and_no_language_model(named: str, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {"model": "tiny"})
    (run.agent / "model").mkdir(parents=True)
    (run.agent / "model" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))  # its weights lie elsewhere
    with pytest.raises(CheckpointError) as caught:
        resolve_folder(run.path / named)
    assert str(caught.value) == (
        f"expected a run with a language model, got {str(run.path)!r}, a run of `textgym train`, which holds an agent "
        f"and no language model of its own; evaluate or play it with --agent {run.path}, or give a run that holds a "
        "model"
    )
    with pytest.raises(CheckpointError, match="makes none; give a run of `textgym reward fit`"):
        resolve_folder(run.path / named, kind="reward")


def test_a_folder_called_agent_that_is_of_no_run(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert resolve_folder(tmp_path / "agent") == tmp_path / "agent"


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


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run of a language model, one of a reward model, and one that is not finished."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("reply", "model"), ("polite", "reward"), ("later", "checkpoints")):
        folder = tmp_path / "runs" / name / kind
        folder.mkdir(parents=True)
        (folder.parent / "config.json").write_text(json.dumps({"command": "train", "settings": {"seed": 0}}))
        (folder / {"model": "config.json", "reward": "reward_model.json"}.get(kind, "none")).write_text("{}")
    return tmp_path / "runs"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(("kind", "found"), [("model", "runs/reply"), ("reward", "runs/polite")])
def test_a_folder_of_runs_lists_them(kind: Kind, found: str) -> None:
    with pytest.raises(CheckpointError, match=f"got 'runs', which holds runs; name one of them: {found}$"):
        resolve_folder("runs", kind=kind)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("name", ["runs/rpely", "./runs/repl", "rums/reply", "runs/./replay"])
def test_a_mistyped_run_is_suggested(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"got '.*\. Did you mean 'runs/reply'\?$"):
        resolve_folder(name)
    with pytest.raises(RunFolderError, match="Did you mean 'runs/reply'"):
        RunFolder.open(name)
    with pytest.raises(ValueError, match="Did you mean 'runs/reply'"):
        resolve_reward(name)


@pytest.mark.usefixtures("runs")
def test_a_folder_of_runs_is_no_run() -> None:
    with pytest.raises(RunFolderError, match="got 'runs'; name one of the runs in it: runs/") as caught:
        RunFolder.open("runs")
    assert sorted(str(caught.value).partition("in it: ")[2].split(", ")) == ["runs/later", "runs/polite", "runs/reply"]
    with pytest.raises(CheckpointError, match=r"which does not exist; check the path\.$"):
        resolve_folder("./runs/something-else")
