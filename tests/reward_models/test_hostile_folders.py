"""Folders of reward models that somebody sent: no class that they name is imported from elsewhere."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.reward_models import (
    EmbeddingRewardModel,
    PreferenceRewardModel,
    RewardEnsemble,
    TextEmbedder,
    encoder_files,
    load_reward,
)

EVIL = ("hostile_module.Thing", "hostile_module:Thing", "hostile_module--hostile_module.Thing")


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that could be imported, and the file that it leaves behind when it is."""
    (tmp_path / "modules").mkdir()
    file = tmp_path / "imported"
    (tmp_path / "modules" / "hostile_module.py").write_text(f"open({str(file)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    sys.modules.pop("hostile_module", None)
    return file


@pytest.fixture(scope="module")
def encoder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a module of every kind that names something."""
    folder = tmp_path_factory.mktemp("encoder")
    transformer = Transformer(str(bert))
    width = transformer.get_embedding_dimension()
    modules = [transformer, Pooling(width), Dense(width, 4)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield place
    else:
        for key, item in items:
            yield from leaves(item, (*place, key))


def changed(value: Any, place: tuple[Any, ...], leaf: Any) -> Any:
    value = copy.deepcopy(value)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = leaf
    return value


def try_every_text(folder: Path, mark: Path) -> int:
    """Put the name of a module in the place of every text of every JSON file, and load; return how many there were."""
    tried = 0
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        if file.name == "tokenizer.json":
            continue  # read by a library that knows no modules
        for place in leaves(content):
            holder: Any = content
            for key in place:
                holder = holder[key]
            if not isinstance(holder, str):
                continue
            for name in EVIL:
                file.write_text(json.dumps(changed(content, place, name)))
                with contextlib.suppress(CheckpointError, ModelError, MissingExtraError):
                    load_reward(folder)
                assert not mark.exists(), (file, place)
            tried += 1
        file.write_text(json.dumps(content))
    load_reward(folder)  # unchanged, it is a reward model
    return tried


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["preference", "ensemble", "embedding", "classifier"])
def test_no_text_in_a_reward_folder_is_imported(
    kind: str, neox: Path, encoder: Path, tmp_path: Path, mark: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "reward"
    if kind == "preference":
        PreferenceRewardModel(neox, max_length=64).save(folder)
    elif kind == "ensemble":
        RewardEnsemble([PreferenceRewardModel(neox, max_length=64) for _ in range(2)]).save(folder)
    elif kind == "embedding":
        EmbeddingRewardModel(TextEmbedder(encoder)).save(folder)
    else:
        shutil.copytree(request.getfixturevalue("gpt2_classifier"), folder)
    assert try_every_text(folder, mark) > 8


@pytest.mark.parametrize("name", [*EVIL, "sentence_transformers.hostile_module.Thing", "sentence_transformers"])
def test_modules_from_elsewhere_are_refused(name: str, encoder: Path, tmp_path: Path, mark: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    file = tmp_path / "encoder" / "modules.json"
    content = json.loads(file.read_text())
    content[1]["type"] = name
    file.write_text(json.dumps(content))
    with pytest.raises((CheckpointError, ModelError), match=r"expected an encoder made of|expected a module of"):
        TextEmbedder(tmp_path / "encoder")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        "sentence_transformers.base.model.torch",  # has a `load`, which unpickles
        "sentence_transformers.base.model.pickle",
        "sentence_transformers.base.model.os",
        "sentence_transformers.util.import_from_string",
        "sentence_transformers.base.modules.dense.nn.Linear",
        "sentence_transformers.SentenceTransformerTrainer",
    ],
)
def test_what_the_package_itself_imports_is_no_module_of_it(name: str, encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    file = tmp_path / "encoder" / "modules.json"
    content = json.loads(file.read_text())
    content[1]["type"] = name
    file.write_text(json.dumps(content))
    with pytest.raises((CheckpointError, ModelError), match=r"expected an encoder made of|expected a module of"):
        TextEmbedder(tmp_path / "encoder")


def test_nested_files_name_nothing_either(encoder: Path, tmp_path: Path, mark: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    (dense,) = (tmp_path / "encoder").glob("*_Dense/config.json")
    before = dense.read_text()
    dense.write_text(json.dumps({**json.loads(before), "activation_function": "hostile_module.Thing"}))
    with pytest.raises(ModelError, match=r"activation function of torch\.nn"):
        TextEmbedder(tmp_path / "encoder")
    dense.write_text(json.dumps({**json.loads(before), "types": {"x": "hostile_module.Thing"}}))  # as of a router
    with pytest.raises(ModelError, match="own modules"):
        TextEmbedder(tmp_path / "encoder")
    dense.write_text(json.dumps({**json.loads(before), "model_args": {"trust_remote_code": True}}))
    with pytest.raises(ModelError, match="without code of its own"):
        TextEmbedder(tmp_path / "encoder")
    dense.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="100 levels"):
        TextEmbedder(tmp_path / "encoder")
    assert not mark.exists()


def test_parts_lie_inside_the_folder(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "encoder")
    file = tmp_path / "encoder" / "modules.json"
    content = json.loads(file.read_text())
    content[1]["path"] = "../other"
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="parts of the encoder inside"):
        TextEmbedder(tmp_path / "encoder")


@pytest.mark.parametrize(("release", "fine"), [("5.4.1", False), ("2.7", False), ("6.0.0", True), ("10.1.dev0", True)])
def test_older_releases_are_refused(release: str, fine: bool, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_files, "version", lambda _: release)
    if fine:
        TextEmbedder(encoder)
        return
    with pytest.raises(MissingExtraError, match=r"expected sentence-transformers 6\.0 or newer, got"):
        TextEmbedder(encoder)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "3", '{"kind": ["x"]}', '{"kind": {"a": 1}}', "{}"])
def test_cards_that_make_no_sense(content: str, tmp_path: Path) -> None:
    (tmp_path / "reward_model.json").write_text(content)
    with pytest.raises(CheckpointError, match="expected"):
        load_reward(tmp_path)
    (tmp_path / "reward_model.json").unlink()
    os.mkfifo(tmp_path / "reward_model.json")
    with pytest.raises(CheckpointError, match="expected"):
        load_reward(tmp_path)
