from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textgym.errors import CheckpointError
from textgym.models import checkpoint
from textgym.models.checkpoint import (
    load_newest,
    load_unique,
    read_checkpoint,
    save_step,
    unique_tensors,
    write_checkpoint,
)

KIND = "test"


def tensors_of(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 2), value), "step": torch.tensor(7), "rng": torch.get_rng_state()}


def write(folder: Path, value: float = 1.0, **record: Any) -> None:
    write_checkpoint(
        folder, tensors_of(value), {"kind": KIND, **record}, lambda aside: (aside / "note.txt").write_text("a note")
    )


def value_of(folder: Path) -> float:
    return float(read_checkpoint(folder, KIND)[0]["weight"][0, 0])


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "checkpoint"
    write(folder, 1.5, number=3, history=[{"reward": 0.1}])
    tensors, record = read_checkpoint(folder, KIND)
    assert record == {"kind": KIND, "number": 3, "history": [{"reward": 0.1}]}
    assert tensors.keys() == {"weight", "step", "rng"}
    for name, tensor in tensors_of(1.5).items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype
    assert (folder / "note.txt").read_text() == "a note"
    assert os.listdir(tmp_path / "deep") == ["checkpoint"]


def test_numpy_scalars_and_paths_are_stored_as_plain_values(tmp_path: Path) -> None:
    record = {"kind": "test", "n": np.int64(8), "x": np.float32(0.1), "yes": np.bool_(True), "path": Path("a/b")}
    write_checkpoint(tmp_path / "c", {"t": torch.zeros(1)}, record)
    stored = read_checkpoint(tmp_path / "c", "test")[1]
    assert stored == {"kind": "test", "n": 8, "x": float(np.float32(0.1)), "yes": True, "path": "a/b"}
    with pytest.raises(TypeError, match="expected numbers, texts, lists and dicts in a checkpoint, got object"):
        write_checkpoint(tmp_path / "c", {"t": torch.zeros(1)}, {"kind": "test", "x": object()})


def test_nothing_is_pickled(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint")
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert names == {"manifest.json", "state.json", "tensors.safetensors", "note.txt"}
    for name in ("manifest.json", "state.json"):
        json.loads((tmp_path / "checkpoint" / name).read_text())


def test_replacing_leaves_nothing_behind(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        write(tmp_path / "checkpoint", value)
        assert value_of(tmp_path / "checkpoint") == value
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "note.txt", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "empty"])
def test_damage_is_noticed(name: str, damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write(folder)
    path = folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: middle if damage == "truncated" else 0])
    with pytest.raises(CheckpointError):
        read_checkpoint(folder, KIND)


def test_every_single_flipped_byte_of_the_manifest_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write(folder)
    path = folder / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(CheckpointError):
            read_checkpoint(folder, KIND)


@pytest.mark.parametrize("manifest", ["[]", "{}", '"text"', '{"state.json": 3}'])
def test_a_manifest_that_is_none(manifest: str, tmp_path: Path) -> None:
    write(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "checkpoint", KIND)


def test_other_kinds_and_other_folders(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of other .* got 'test'"):
        read_checkpoint(tmp_path / "checkpoint", "other")
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CheckpointError, match="got none that is complete"):
            read_checkpoint(folder, KIND)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    found = load_newest(folder, lambda path: read_checkpoint(path, KIND))
    return found.folder, found.problems


def test_newest_checkpoint_falls_back(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])
    assert newest(tmp_path / "nothing") == (None, [])
    for step in (1, 2, 3):
        write(tmp_path / f"{step:04d}", float(step))
    shutil.copytree(tmp_path / "0003", tmp_path / ".0004.half")
    (tmp_path / "a file").touch()
    assert newest(tmp_path) == (tmp_path / "0003", [])
    (tmp_path / "0003" / "tensors.safetensors").write_bytes(b"")
    found, problems = newest(tmp_path)
    assert found == tmp_path / "0002"
    assert len(problems) == 1
    assert "0003" in problems[0]
    (tmp_path / "0002" / "state.json").unlink()
    found, problems = newest(tmp_path)
    assert found == tmp_path / "0001"
    assert len(problems) == 2


def test_a_checkpoint_without_one_of_its_files_is_skipped(tmp_path: Path) -> None:
    for step in (1, 2):
        save_step(tmp_path / "checkpoints", step, lambda path: path.mkdir())
    folder = tmp_path / "checkpoints"
    (folder / "step-0000000001" / "agent.json").write_text("1")
    found = load_newest(folder, lambda path: (path / "agent.json").read_text())
    assert (found.value, found.folder) == ("1", folder / "step-0000000001")
    assert "expected every file of a checkpoint in" in found.problems[0]
    assert "step-0000000002/agent.json" in found.problems[0]
    with pytest.raises(FileNotFoundError, match="the-data"):  # no file of the checkpoint
        load_newest(folder, lambda _: (tmp_path / "the-data").read_text())


def test_a_step_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.mkdir()
        (path / "first").write_text("1")
        assert path.parent == tmp_path
        assert [each.name for each in tmp_path.glob("step-*")] == ["step-0000000002", "step-0000000003"]
        raise OSError("the machine is on fire")

    for step in (1, 2, 3):
        save_step(tmp_path, step, lambda path: path.mkdir())
    with pytest.raises(OSError, match="on fire"):
        save_step(tmp_path, 4, half)
    with pytest.raises(NotADirectoryError, match="expected a folder to be written"):
        save_step(tmp_path, 5, lambda path: path.write_text("a file"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-0000000002", "step-0000000003"]


def test_the_newest_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "0001")
    read: list[str] = []

    def noting(name: str) -> None:
        original = getattr(checkpoint, name)
        monkeypatch.setattr(checkpoint, name, lambda path, *rest, **named: read.append(path.name) or original(path))

    for name in ("_digest", "load_file", "read_object"):
        noting(name)
    found = load_newest(tmp_path, lambda path: read_checkpoint(path, KIND))
    assert found.folder == tmp_path / "0001"
    # the state is checked and parsed, the tensors are checked and loaded
    assert sorted(read) == ["manifest.json", "note.txt", *["state.json"] * 2, *["tensors.safetensors"] * 2]


class Crash(BaseException):
    """Not an Exception, like KeyboardInterrupt."""


def stop_in(patch: pytest.MonkeyPatch, place: str, call: int, killed: bool) -> None:
    """Let the ``call``-th call of a function crash, or kill the process."""
    owner: Any = checkpoint
    *path, name = place.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, count = getattr(owner, name), [0]

    def stopping(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] < call:
            return original(*arguments, **named)
        if killed:
            os._exit(9)
        raise Crash

    patch.setattr(owner, name, stopping)


PLACES = [("save_file", 1), ("os.fsync", 1), ("os.fsync", 4), ("Path.rename", 1), ("Path.rename", 2), ("os.fsync", 6)]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_an_interrupt_leaves_the_old_checkpoint_or_the_new_one(place: tuple[str, int], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write(folder, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, *place, killed=False)
        with pytest.raises(Crash):
            write(folder, 2.0)
    check_recovery(folder)


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_kill_leaves_the_old_checkpoint_or_the_new_one(place: tuple[str, int], tmp_path: Path) -> None:
    """Not even the clean-up runs."""
    folder = tmp_path / "checkpoint"
    write(folder, 1.0)
    child = os.fork()
    if child == 0:
        stop_in(pytest.MonkeyPatch(), *place, killed=True)
        write(folder, 2.0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    check_recovery(folder)


def check_recovery(folder: Path) -> None:
    found, problems = newest(folder.parent)
    assert found == folder
    assert not problems
    assert value_of(folder) in (1.0, 2.0)
    write(folder, 3.0)
    assert value_of(folder) == 3.0
    assert os.listdir(folder.parent) == ["checkpoint"]


def test_a_failure_leaves_no_rubbish(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError("disk full")

    write(tmp_path / "checkpoint", 1.0)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path / "checkpoint", tensors_of(2.0), {"kind": KIND}, fail)
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert value_of(tmp_path / "checkpoint") == 1.0


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("nothing", torch.zeros(0))


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    tensors = unique_tensors(source.state_dict())
    assert tensors.keys() == {"first.weight", "first.bias", "empty", "nothing"}
    load_unique(target, tensors, tmp_path)
    assert torch.equal(target.second.weight, source.first.weight)
    assert target.second.weight is target.first.weight


def test_parts_of_one_tensor_are_not_confused() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = unique_tensors({"whole": whole, "view": whole[:1], "turned": whole.T})
    assert tensors.keys() == {"whole", "view", "turned"}
    assert torch.equal(tensors["turned"], whole.T)
    assert tensors["turned"].is_contiguous()
    square = torch.arange(4.0).reshape(2, 2)
    tensors = unique_tensors({"square": square, "turned": square.T})
    assert torch.equal(tensors["turned"], square.T)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_other_weights_are_refused(change: str, tmp_path: Path) -> None:
    tensors = dict(unique_tensors(Tied().state_dict()))
    if change == "missing":
        del tensors["first.bias"]
    elif change == "extra":
        tensors["third"] = torch.zeros(1)
    else:
        tensors["first.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointError, match="expected the weights of this model"):
        load_unique(Tied(), tensors, tmp_path)
