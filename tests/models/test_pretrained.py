from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.hub import resolve_folder
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model
from textgym.models.pretrained import read_pretrained, require_finite_weights


def read(folder: Path, **options: Any) -> Any:
    return read_pretrained(AutoModelForCausalLM, "a causal LM", folder, **options)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def folder(make_network: Any, tmp_path: Path) -> Path:
    """A GPT-2 whose head is tied to its embedding, so that the file holds no head."""
    make_network("gpt2", torch.float32, tie_word_embeddings=True).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_tied_heads_are_no_missing_weights(folder: Path, make_network: Any) -> None:
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    network, original = read(folder), make_network("gpt2", torch.float32, tie_word_embeddings=True)
    assert network.lm_head.weight is network.transformer.wte.weight
    torch.testing.assert_close(network.state_dict(), original.state_dict(), rtol=0, atol=0)
    assert read(folder, dtype=torch.bfloat16).lm_head.weight.dtype == torch.bfloat16


def test_weights_that_the_file_lacks_are_an_error(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(file).items() if ".h.1." not in name}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"none or others for 12: transformer\.h\.1\.attn.*, \.\.\.; fetch"):
        read(folder)


def test_a_head_that_the_file_lacks_is_an_error(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"for 1: score\.weight; .* fit its head"):
        read_pretrained(AutoModelForSequenceClassification, "a classifier", folder)


def test_weights_of_other_shapes_are_named(folder: Path) -> None:
    change_config(folder, n_positions=32)
    with pytest.raises(CheckpointError, match=r"all weights of GPT2LMHeadModel .* for 1: transformer\.wpe\.weight; "):
        read(folder)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights are not opened"):
        read(folder)


@pytest.mark.parametrize("model_type", ["unknown_to_transformers", "gpt2"])
def test_code_in_the_folder_is_not_run(model_type: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = folder / "trace"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nfrom transformers import GPT2Config as C\n")
    change_config(folder, model_type=model_type, auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # the answer, if transformers should ask
    if model_type == "gpt2":
        assert type(read(folder)).__name__ == "GPT2LMHeadModel"
    else:
        with pytest.raises(ModelError, match=r"expected a causal LM .* custom code"):
            read(folder)
    assert not trace.exists()


def test_damage_and_absence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none that can be read"):
        read(tmp_path / "nothing")
    shutil.copytree(folder, tmp_path / "short")
    file = tmp_path / "short" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="none that can be read"):
        read(tmp_path / "short")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a valid JSON"):
        read(folder)


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'mamba_ssm.ops'", name="mamba_ssm.ops"), "mamba_ssm"),
        (ImportError("X requires the Y library.\nInstall it with `pip install -U timm>=1.0`"), "timm"),
        (ImportError("X requires the Y library.\n`pip install kernels[hub]`"), r"kernels\[hub\]"),
        (ImportError("cannot use X"), r"install, with the package that this names"),
    ],
    ids=["module", "advice", "extra", "neither"],
)
def test_a_package_that_the_model_needs(
    error: ImportError, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(MissingExtraError, match=rf"got one that is missing \(.*; use: pip (install )?{package}"):
        read(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float, make_network: Any, folder: Path) -> None:
    network = make_network("gpt2", torch.float32)
    network.transformer.h[1].mlp.c_fc.weight.data[3, 4] = value
    named = r"NaN or infinity in 'transformer\.h\.1\.mlp\.c_fc\.weight' of .* \(1 parameters"
    with pytest.raises(ModelError, match=named):
        CausalLM(network)
    network.save_pretrained(folder)
    with pytest.raises(ModelError, match=named):
        load_language_model(folder)


def test_sums_beyond_the_type_are_no_infinite_weights(make_network: Any) -> None:
    network = make_network("gpt2", torch.float32)
    network.transformer.wpe.weight.data.fill_(3e38)
    require_finite_weights(network, "it")


@pytest.mark.parametrize("name", ["tiny", "tiny-reward"])
def test_shipped_models_are_trained_outside_the_policy(name: str) -> None:
    """As any Hugging Face model: float32 by default, and finite after a step."""
    network = AutoModelForCausalLM.from_pretrained(resolve_folder(name))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    optimizer, ids = torch.optim.AdamW(network.parameters(), lr=1e-4), torch.arange(40)[None]
    losses = []
    for _ in range(3):
        losses.append(network(input_ids=ids, labels=ids).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]


@pytest.mark.parametrize("more", range(8))
def test_weights_lie_as_those_of_torch_wherever_they_are_in_the_file(more: int, folder: Path) -> None:
    """The header of the file is longer with a longer note, and so the weights begin elsewhere."""
    file = folder / "model.safetensors"
    save_file(load_file(file), file, {"format": "pt", "note": "x" * 8 * more})
    network = read(folder)
    assert {parameter.data_ptr() % 64 for parameter in network.parameters()} == {0}
    assert network.lm_head.weight is network.transformer.wte.weight
