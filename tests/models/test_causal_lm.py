from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM, T5Config

from textgym.errors import CheckpointError, ModelError
from textgym.hub import resolve_folder
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.loading import load_language_model
from textgym.text.tokenizer import Tokenizer

TOKENS = 377  # of the test tokenizer; the model's table has 384 rows


@pytest.fixture(scope="module")
def folder(make_network: Any, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose vocabulary is padded."""
    target = tmp_path_factory.mktemp("model")
    make_network("gpt_neox", torch.float32, vocab_size=384, tie_word_embeddings=True).save_pretrained(target)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, target / file.name)
    return target


def ids_of(rows: int = 3, width: int = 9, size: int = 64) -> torch.Tensor:
    return torch.randint(0, size, (rows, width), generator=torch.Generator().manual_seed(0))


def test_load_by_folder(folder: Path) -> None:
    model = load_language_model(folder)
    assert model.source == str(folder)
    assert model.tokenizer.vocab_size == TOKENS
    assert model.network.get_output_embeddings().weight.shape[0] == 384
    assert load_language_model(str(folder)).source == str(folder)


def test_load_a_run_folder(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    ids = ids_of()
    copied, original = (load_language_model(place).token_states(ids) for place in (tmp_path, folder))
    torch.testing.assert_close(copied, original)


def test_load_tiny() -> None:
    if not (resolve_folder("tiny") / "model.safetensors").is_file():
        pytest.skip("the shipped model has no weights yet")
    model = load_language_model("tiny")
    assert model.vocab_size == Tokenizer.load("tiny").vocab_size
    assert model.is_cacheable
    assert int(model.config.max_position_embeddings) >= 1024


@pytest.mark.parametrize(
    ("kind", "settings", "length"),
    [
        ("gpt2", {"n_positions": 48}, 48),
        ("gpt_bigcode", {"n_positions": 48}, 48),
        ("llama", {"max_position_embeddings": 96}, 96),
        ("bloom", {}, None),
        ("falcon_alibi", {"max_position_embeddings": 48}, None),
        ("mamba", {}, None),
    ],
)
def test_context_length(kind: str, settings: dict[str, Any], length: int | None, make_network: Any) -> None:
    model = CausalLM(make_network(kind, **settings))
    assert model.context_length == length
    model.require_context(length or 10**6)
    if length is not None:
        with pytest.raises(ModelError, match=f"at least {length + 1} tokens for the text, got {length}; lower"):
            model.require_context(length + 1, "the text")


@pytest.mark.parametrize("name", ["n_ctx", "seq_length", "max_seq_len"])
def test_context_length_by_other_names(name: str, make_network: Any) -> None:
    model = CausalLM(make_network("bloom"))
    setattr(model.config, name, 48)
    assert model.context_length == 48
    setattr(model.config, name, -1)  # how some configurations say that there is no limit
    assert model.context_length is None


def test_unknown_precisions_are_refused(make_network: Any, folder: Path) -> None:
    for precision in ("fp16", "bfloat16"):
        with pytest.raises(ValueError, match=f"expected precision 'fp32' or 'bf16', got '{precision}'"):
            CausalLM(make_network("llama"), precision=precision)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=precision):
            load_language_model(folder, precision=precision)  # type: ignore[arg-type]


def test_a_module_is_wrapped_as_it_is(make_network: Any) -> None:
    network = make_network("llama")
    model = load_language_model(network)
    assert model.network is network
    assert model.source is None
    with pytest.raises(ModelError, match="load it by name, folder or Hub id"):
        _ = model.tokenizer
    assert load_language_model(model) is model


def test_a_module_from_a_folder_keeps_its_tokenizer(folder: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(folder)
    model = load_language_model(network)
    assert model.tokenizer.fingerprint == Tokenizer.load(folder).fingerprint
    assert model.vocab_size == TOKENS


def test_a_module_from_a_folder_without_tokenizer(make_network: Any, tmp_path: Path) -> None:
    make_network("llama", torch.float32).save_pretrained(tmp_path)
    model = load_language_model(AutoModelForCausalLM.from_pretrained(tmp_path))
    assert model.source is None


@pytest.mark.parametrize("way", ["folder", "module"])
def test_padded_vocabulary_is_gone_in_every_path(way: str, folder: Path) -> None:
    model = load_language_model(folder if way == "folder" else AutoModelForCausalLM.from_pretrained(folder))
    with torch.no_grad():  # make the padding rows the most likely ids
        model.network.get_output_embeddings().weight[TOKENS:] = model.token_states(ids_of()).mean((0, 1)) * 50
    assert model.logits(model.token_states(ids_of())).shape == (3, 9, TOKENS)
    generator = torch.Generator().manual_seed(0)
    for temperature in (0.0, 1.0):
        rows = generate(
            model, [[5, 6]] * 8, max_new_tokens=5, eos_ids=[1], temperature=temperature, generator=generator
        )
        assert max(max(row) for row in rows) < TOKENS


def test_a_vocabulary_that_is_too_small(make_network: Any) -> None:
    with pytest.raises(ModelError, match="at least 65 output rows, got 64"):
        CausalLM(make_network("llama")).restrict_vocabulary(65)


@pytest.mark.parametrize("way", ["folder", "module"])
def test_a_tokenizer_with_more_ids_than_the_model_has_rows(
    way: str, make_network: Any, tokenizer_folder: Path, tmp_path: Path
) -> None:
    make_network("llama", torch.float32, vocab_size=370).save_pretrained(tmp_path)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, tmp_path / file.name)
    model = tmp_path if way == "folder" else AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"got 370; .* network.resize_token_embeddings\({TOKENS}\)"):
        load_language_model(model)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "gemma2", "gpt_neox", "opt", "llama", "bloom"])
def test_a_folder_without_a_tokenizer_gets_none_that_is_made_up(kind: str, make_network: Any, tmp_path: Path) -> None:
    make_network(kind, torch.float32).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CheckpointError, match=r"expected a tokenizer in .*; put a tokenizer\.json there"):
            load_language_model(tmp_path)


@pytest.mark.parametrize("rows", [370, 200, 3])
def test_a_tokenizer_with_more_ids_than_the_model_reads(rows: int, folder: Path) -> None:
    """The head has rows enough, and the table of embeddings has not."""
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.set_input_embeddings(torch.nn.Embedding(rows, network.config.hidden_size))
    with pytest.raises(ModelError, match=rf"{TOKENS} input rows, got {rows}; .* network.resize_token_embeddings"):
        load_language_model(network)


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite", "gpt2", "opt", "mamba"])
def test_logits_are_those_of_the_network(kind: str, make_network: Any) -> None:
    network = make_network(kind)
    model = CausalLM(network)
    with torch.no_grad():
        ids = ids_of()
        theirs = network(input_ids=ids, use_cache=False).logits
        ours = model.logits(model.token_states(ids))
    tolerance = 1e-3 if kind == "mamba" else 1e-6  # Mamba's code computes in fp32 whatever the dtype
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance, check_dtype=False)
    # The shape of the logits matters in this test: without scale or cap they would differ.
    if kind in ("gemma2", "cohere", "granite"):
        assert not torch.allclose(network.get_output_embeddings()(model.token_states(ids)), theirs, atol=1e-2)


def test_right_padding_does_not_matter(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2"))
    ids = ids_of()
    short = model.token_states(ids[:, :4])
    torch.testing.assert_close(model.token_states(ids)[:, :4], short, rtol=0, atol=1e-9)
    mask = (torch.arange(9) < 4).long().expand(3, 9)
    torch.testing.assert_close(model.token_states(ids, mask)[:, :4], short, rtol=0, atol=1e-9)


def test_bf16_is_close_and_its_logits_are_fp32(make_network: Any) -> None:
    network = make_network("llama", torch.float32)
    full, half = CausalLM(network), CausalLM(network, precision="bf16")
    ids = ids_of()
    with torch.no_grad():
        exact, close = full.logits(full.token_states(ids)), half.logits(half.token_states(ids))
    assert half.token_states(ids).dtype == close.dtype == torch.float32
    assert 0 < float((exact - close).abs().max()) < 0.05 * float(exact.abs().max())
    assert next(half.network.parameters()).dtype == torch.float32


def test_weights_in_bf16(make_network: Any) -> None:
    model = CausalLM(make_network("llama", torch.bfloat16))
    states = model.token_states(ids_of())
    assert states.dtype == model.logits(states).dtype == torch.float32


def test_loading_in_fp32_by_default(make_network: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    assert next(load_language_model(tmp_path / "half").network.parameters()).dtype == torch.float32


def test_save_pretrained_is_a_hugging_face_folder(folder: Path, tmp_path: Path) -> None:
    model = load_language_model(folder)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.01)
    model.save_pretrained(tmp_path / "deep" / "saved")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "deep" / "saved")
    ids = ids_of()
    with torch.no_grad():
        theirs = network(input_ids=ids).logits[..., :TOKENS]
        torch.testing.assert_close(model.logits(model.token_states(ids)), theirs, rtol=0, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "deep" / "saved")
    assert tokenizer("The council met.")["input_ids"] == model.tokenizer.encode("The council met.")
    assert tokenizer.eos_token_id == 1
    again = load_language_model(tmp_path / "deep" / "saved")
    torch.testing.assert_close(model.token_states(ids), again.token_states(ids), rtol=0, atol=0)
    assert again.tokenizer.fingerprint == model.tokenizer.fingerprint
    assert not list((tmp_path / "deep" / "saved").glob("*.bin"))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_lora_starts_as_the_model_and_is_merged_on_save(kind: str, make_network: Any, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network(kind))
    ids = ids_of()
    before = model.token_states(ids).detach()
    model.add_lora(2)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all("lora" in name for name in trainable)
    assert torch.equal(model.token_states(ids), before)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = model.token_states(ids).detach()
    assert not torch.allclose(adapted, before, atol=1e-3)
    with model.without_adapter():
        assert torch.equal(model.token_states(ids), before)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(model.token_states(ids), adapted, rtol=0, atol=0)  # saving changed nothing
    saved = CausalLM(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64))
    torch.testing.assert_close(saved.token_states(ids), adapted, rtol=0, atol=1e-6)
    assert not any("lora" in name for name in load_file(tmp_path / "model.safetensors"))


def test_lora_is_silent(make_network: Any) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network("llama"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add_lora(2)


@pytest.mark.parametrize("lora", [False, True])
def test_the_dropout_of_the_configuration_is_saved(lora: bool, make_network: Any, tmp_path: Path) -> None:
    model = copy.deepcopy(CausalLM(make_network("gpt2", resid_pdrop=0.5, embd_pdrop=0.25, attn_pdrop=0.0)))
    if lora:
        pytest.importorskip("peft")
        model.add_lora(2)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["resid_pdrop"], config["embd_pdrop"], config["attn_pdrop"]) == (0.5, 0.25, 0.0)
    assert (model.config.resid_pdrop, model.config.embd_pdrop) == (0.0, 0.0)  # while it runs it has none


def test_a_module_that_is_wrapped_twice_is_saved_with_its_dropout(make_network: Any, tmp_path: Path) -> None:
    network = make_network("gpt2", resid_pdrop=0.5, embd_pdrop=0.25, attn_pdrop=0.0)
    CausalLM(network)
    network.config.attn_pdrop = 0.125  # changed in between
    copy.deepcopy(CausalLM(network)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["resid_pdrop"], config["embd_pdrop"], config["attn_pdrop"]) == (0.5, 0.25, 0.125)
    assert (network.config.resid_pdrop, network.config.embd_pdrop, network.config.attn_pdrop) == (0.0, 0.0, 0.0)


def test_without_adapter_needs_one(make_network: Any) -> None:
    with pytest.raises(ModelError, match="call add_lora first"), CausalLM(make_network("llama")).without_adapter():
        pass


class OddHead(GPTNeoXForCausalLM):
    """Logits that are not head(last hidden state)."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits.flip(-1)
        return output


def test_other_forms_of_logits_are_refused(make_network: Any) -> None:
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    with pytest.raises(ModelError, match="expected logits = head"):
        CausalLM(OddHead(config).double())
    with pytest.raises(ModelError, match=r"load a \*ForCausalLM"):
        CausalLM(AutoModel.from_config(config))


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "pickled"
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    torch.save(weights, target / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        load_language_model(target)


def test_damaged_weights_and_other_models(folder: Path, tmp_path: Path) -> None:
    damaged, encoder = tmp_path / "damaged", tmp_path / "encoder"
    shutil.copytree(folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="none that can be read"):
        load_language_model(damaged)
    T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=384).save_pretrained(encoder)
    for file in ("tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copy(folder / file, encoder / file)
    with pytest.raises(CheckpointError, match="expected all weights of T5ForConditionalGeneration"):
        load_language_model(encoder)  # an encoder-decoder by its configuration, with the weights of another model


def test_missing_models(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_language_model(tmp_path / "nothing")
