"""Model folders that ask for more than is there, or for code: refused in seconds."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import transformers

from textgym.errors import CheckpointError, ModelError, TextGymError
from textgym.models.loading import load_language_model
from textgym.models.proportions import proportionate
from textgym.text.tokenizer import Tokenizer

_numbers = itertools.count()
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
KINDS = {
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}),
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "qwen2": ("Qwen2Config", {**SIZES, "num_key_value_heads": 2}),
    "llama": ("LlamaConfig", {**SIZES, "num_key_value_heads": 2}),
}


def write_model(folder: Path, kind: str) -> Path:
    name, sizes = KINDS[kind]
    config = getattr(transformers, name)(**sizes, vocab_size=64, bos_token_id=None, eos_token_id=1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, write_model(tmp_path_factory.mktemp("model") / "model", request.param)


def change(folder: Path, changes: dict[str, Any], name: str = "config.json") -> Path:
    import shutil

    copy = folder.with_name(f"changed-{next(_numbers)}")  # tokenizers are remembered by their folders
    shutil.copytree(folder, copy)
    before = json.loads((copy / name).read_text()) if (copy / name).exists() else {}
    (copy / name).write_text(json.dumps({**before, **changes}))
    return copy


def refused(folder: Path) -> str:
    start = time.process_time()
    with pytest.raises(TextGymError) as caught:
        load_language_model(str(folder))
    assert time.process_time() - start < 10
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


LAYERS = {"gpt2": "n_layer"}
WIDTHS = {"gpt2": "n_embd"}


def test_the_model_itself_is_in_proportion(model: tuple[str, Path]) -> None:
    with proportionate(model[1]):
        transformers.AutoModelForCausalLM.from_pretrained(model[1])


@pytest.mark.parametrize("count", [10**9, 99_999, 1e12])
def test_layers_without_an_end(model: tuple[str, Path], count: float) -> None:
    kind, folder = model
    assert "expected" in refused(change(folder, {LAYERS.get(kind, "num_hidden_layers"): count}))


@pytest.mark.parametrize("name", ["width", "vocab_size", "num_labels"])
def test_absurd_sizes(model: tuple[str, Path], name: str) -> None:
    kind, folder = model
    key = WIDTHS.get(kind, "hidden_size") if name == "width" else name
    for value in (2**28, 2**40):
        assert "expected" in refused(change(folder, {key: value}))


@pytest.mark.parametrize("value", ["x", None, [], {}, -5, 0, True, 1.5])
def test_nonsense_is_an_error_of_ours(model: tuple[str, Path], value: object) -> None:
    kind, folder = model
    for key in (LAYERS.get(kind, "num_hidden_layers"), WIDTHS.get(kind, "hidden_size")):
        with contextlib.suppress(TextGymError):  # or it is a size that works
            load_language_model(str(change(folder, {key: value})))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json", "x.index.json"])
def test_deep_json_large_files_and_pipes(model: tuple[str, Path], name: str) -> None:
    folder = change(model[1], {})
    (folder / name).write_text('{"a":' * 100_000)
    assert "at most 100 levels" in refused(folder)
    os.truncate(folder / name, 2**40)  # sparse
    assert "at most" in refused(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "expected" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "merges.txt", "chat_template.jinja"])
def test_any_other_file_may_be_a_pipe(model: tuple[str, Path], name: str) -> None:
    folder = change(model[1], {})
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "regular file" in refused(folder)
    with pytest.raises(CheckpointError):
        Tokenizer.load(folder)


def test_weights_elsewhere(model: tuple[str, Path]) -> None:
    folder = change(model[1], {"weight_map": {"a": "../../other.safetensors"}}, "model.safetensors.index.json")
    assert "expected weights beside" in refused(folder)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "_experts_implementation"])
def test_kernels_from_the_hub_are_code(model: tuple[str, Path], name: str) -> None:
    for changes in ({name: "somebody/kernel"}, {name: {"": "somebody/kernel:x"}}, {"text_config": {name: "a/b"}}):
        with pytest.raises(ModelError, match="transformers' own code"):
            load_language_model(str(change(model[1], changes)))


def test_adapters_that_name_modules_or_are_pickled(model: tuple[str, Path]) -> None:
    megatron = {"megatron_config": {"a": 1}, "megatron_core": "evil"}
    for changes in ({"peft_type": "LORA"}, megatron, {"auto_mapping": {"parent_library": "evil"}}):
        folder = change(model[1], changes, "adapter_config.json")
        (folder / "adapter_model.bin").write_bytes(b"a pickle")
        assert "pickled weights are not opened" in refused(folder)
        if changes != {"peft_type": "LORA"}:
            (folder / "adapter_model.safetensors").write_bytes(b"")
            assert "names modules to import" in refused(folder)


@pytest.mark.parametrize(
    "header", [b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"{" * 16]
)
def test_headers_of_weights_that_lie(model: tuple[str, Path], header: bytes) -> None:
    folder = change(model[1], {})
    (folder / "model.safetensors").write_bytes(header + b"\x00" * 64)
    assert "expected" in refused(folder)


def test_deep_headers_of_weights(model: tuple[str, Path]) -> None:
    folder = change(model[1], {})
    text = b'{"a":' * 100_000
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert "expected" in refused(folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"model":' * 100_000, "{}", "null", '{"added_tokens": 3}'])
def test_tokenizers_that_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_of_absurd_size(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    os.truncate(tmp_path / "tokenizer.json", 2**40)  # sparse
    with pytest.raises(CheckpointError, match="at most"):
        Tokenizer.load(tmp_path)
