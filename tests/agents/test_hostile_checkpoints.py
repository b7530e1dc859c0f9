"""Checkpoints that somebody sent: fixed names, fixed types, no paths; a checksum says nothing about who made them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.ppo import PPO
from textgym.errors import CheckpointError, TextGymError
from textgym.models.checkpoint import read_checkpoint
from textgym.models.stored_values import from_json, listed, one_of, plain, text, to_json

Record = dict[str, Any]


@pytest.fixture(scope="module")
def saved(make_agent: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    agent = make_agent()
    agent.learn(4 * 11)
    folder: Path = tmp_path_factory.mktemp("saved") / "checkpoint"
    agent.save(folder)
    return folder


def sign(folder: Path) -> None:
    """Write the checksums again, as whoever forges a checkpoint does."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "manifest.json").write_text(json.dumps(digests))


@pytest.fixture
def forge(saved: Path, tmp_path: Path) -> Callable[[Callable[[Record], object]], Path]:
    """``forge(change)``: a copy of a checkpoint with another record."""

    def make(change: Callable[[Record], object]) -> Path:
        import shutil

        folder = tmp_path / "forged"
        shutil.copytree(saved, folder)
        record = json.loads((folder / "state.json").read_text())
        change(record)
        (folder / "state.json").write_text(json.dumps(record))
        sign(folder)
        return folder

    return make


CHANGES: dict[str, Callable[[Record], object]] = {
    "an attribute": lambda record: record["counters"].update(learn=1),
    "another attribute": lambda record: record["counters"].update(tensorboard_log="/tmp/elsewhere"),
    "a private one": lambda record: record["counters"].update(_logger="x"),
    "a counter that is a text": lambda record: record["counters"].update(num_timesteps="12"),
    "a counter that is an object": lambda record: record["counters"].update(_score_spread={}),
    "a counter too few": lambda record: record["counters"].pop("_n_updates"),
    "an argument": lambda record: record["settings"].update(policy_kwargs={"model": "x"}),
    "a path as an argument": lambda record: record["settings"].update(device="cpu"),
    "an argument of another kind": lambda record: record["settings"].update(n_steps="11"),
    "a size that is none": lambda record: record["settings"].update(n_steps=-1),
    "a size without an end": lambda record: record["settings"].update(n_steps=10**18),
    "a schedule with more": lambda record: record["schedules"].update(clip_range={"start": 1, "end": 0, "call": "x"}),
    "a schedule of another name": lambda record: record["schedules"].update(target_kl=0.1),
    "an option of the policy": lambda record: record["policy"]["options"].update(optimizer_class="x"),
    "a precision that is none": lambda record: record["policy"]["options"].update(precision="fp99"),
    "a part of the policy": lambda record: record["policy"].update(features_extractor_class="x"),
    "a type that is a function": lambda record: record["policy"].update(dtype="load"),
    "tokens that are none": lambda record: record["policy"].update(actions="many"),
    "an option of the optimizer": lambda record: record["optimizer"]["param_groups"][0].update(hook=1),
    "an optimizer's text": lambda record: record["optimizer"]["param_groups"][0].update(lr="x"),
    "history of texts": lambda record: record["history"].append({"kl": "x"}),
    "a part of the record": lambda record: record.update(callback="x"),
    "no record": lambda record: record.clear(),
    "arrays of objects": lambda record: record.update(environment={"array": ["x"], "dtype": "O", "shape": [1]}),
    "a large array": lambda record: record.update(environment={"array": [0], "dtype": "int64", "shape": [10**12]}),
    "long texts in an array": lambda record: record.update(environment={"array": [""], "dtype": "U9", "shape": [1]}),
    "no generator": lambda record: record["rng"].update(python=[3, ["x"], None]),
    "another generator": lambda record: record["rng"].update(numpy={"bit_generator": "os"}),
    "a class": lambda record: record["optimizer"].update({"class": "SGD"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_records_hold_nothing_else(change: Callable[[Record], object], forge: Any) -> None:
    folder = forge(change)
    with pytest.raises(CheckpointError):
        PPO.load(folder)


def texts(value: Any) -> list[tuple[Any, Any]]:
    """Every holder of a text in JSON, and the key of the text in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(value, key) for key, item in items if isinstance(item, str)]
    return found + [place for _, item in items for place in texts(item)]


def test_no_text_of_a_checkpoint_is_imported(forge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "hostile_module.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = forge(lambda record: None)
    original = (folder / "state.json").read_text()
    count = len(texts(json.loads(original)))
    assert count > 8
    for place in range(count):
        for name in ("hostile_module.Thing", "hostile_module:Thing"):
            record = json.loads(original)
            holder, key = texts(record)[place]
            holder[key] = name
            (folder / "state.json").write_text(json.dumps(record))
            sign(folder)
            with contextlib.suppress(TextGymError):
                PPO.load(folder)
            assert not mark.exists(), key


def test_paths_in_a_record_are_not_written_to(forge: Any, make_env: Any, length_reward: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"

    def change(record: Record) -> None:
        record["settings"]["tensorboard_log"] = str(elsewhere)  # stood there in earlier versions
        record["policy"]["source"] = str(elsewhere)

    agent = PPO.load(forge(change), env=make_env(4, reward=length_reward))
    agent.learn(4 * 11, reset_num_timesteps=False)
    assert agent.tensorboard_log is None
    assert not elsewhere.exists()
    assert PPO.load(tmp_path / "forged", tensorboard_log=str(tmp_path / "mine")).tensorboard_log == str(
        tmp_path / "mine"
    )


def test_policies_are_checked_too(make_policy: Any, tmp_path: Path) -> None:
    make_policy().save(tmp_path / "policy")
    record = json.loads((tmp_path / "policy" / "state.json").read_text())
    for part, value in (("dtype", "load"), ("options", {"optimizer_class": "x"}), ("more", 1)):
        (tmp_path / "policy" / "state.json").write_text(json.dumps({**record, part: value}))
        sign(tmp_path / "policy")
        with pytest.raises(CheckpointError, match="parts of a policy"):
            CausalLMPolicy.load(tmp_path / "policy")


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 10**9}, {"hidden_size": 2**20}, {"vocab_size": 2**40}])
def test_a_model_out_of_proportion_is_not_built(changes: dict[str, int], forge: Any) -> None:
    folder = forge(lambda record: None)
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, **changes}))
    sign(folder)
    start = time.process_time()
    with pytest.raises(TextGymError, match=r"out of proportion|in proportion|can be built"):
        PPO.load(folder)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "model/../../secret"])
def test_a_manifest_names_files_of_its_checkpoint(name: str, forge: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = forge(lambda record: None)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, name: hashlib.sha256(b"x").hexdigest()}))
    with pytest.raises(CheckpointError, match="outside of it"):
        PPO.load(folder)


def test_deep_records_and_pipes(forge: Any) -> None:
    folder = forge(lambda record: None)
    (folder / "state.json").write_text('{"kind":' * 100_000)
    sign(folder)
    with pytest.raises(CheckpointError, match="at most 100 levels"):
        read_checkpoint(folder, "textgym.PPO")
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(CheckpointError, match="regular file"):
        PPO.load(folder)


def test_lists_of_so_many_and_texts_of_a_choice() -> None:
    pair, choice = listed(text, 2), one_of("fp32", "bf16")
    assert pair(["a", "b"])
    assert not any(map(pair, [["a"], ["a", "b", "c"], ["a", 1], "ab"]))
    assert choice("bf16")
    assert not any(map(choice, ["fp16", None, ["fp32"], {}]))


def test_arrays_survive() -> None:
    import numpy as np

    arrays = {"a": np.arange(6).reshape(2, 3), "b": [np.zeros((0, 2), np.float32), np.array([True])], "c": np.int64(3)}
    stored = json.loads(json.dumps(to_json(arrays)))
    assert plain(stored)
    read = from_json(stored)
    assert read["a"].tolist() == arrays["a"].tolist()  # type: ignore[attr-defined]
    assert (read["b"][0].shape, read["b"][0].dtype) == ((0, 2), np.float32)
    assert read["b"][1].dtype == bool
    assert read["c"] == 3
