"""What is found about a model by computing: causality, caching, arguments, windows, the form of logits, noise."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from textgym.errors import CheckpointError, ModelError
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.loading import is_encoder_decoder, load_language_model
from textgym.models.probing import probe
from textgym.models.probing.findings import narrow_probe
from textgym.models.probing.head import LogitForm, fit_form
from textgym.models.probing.narrow import narrow_copy
from textgym.models.probing.trunk import Trunk

Oracle = Callable[[Any, Sequence[int]], Tensor]
_SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = {**_SMALL, "intermediate_size": 64, "num_key_value_heads": 2}


def network_of(kind: str, auto: str = "AutoModelForCausalLM", **settings: Any) -> Any:
    """A random network with weights of a size that shows mistakes."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{"pad_token_id": 0, "eos_token_id": 1, **settings})
    network = getattr(transformers, auto).from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return network.eval()


def said_at_load(network: Any) -> tuple[CausalLM, list[str]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = CausalLM(network)
    return model, [str(each.message) for each in said if "keys and values" in str(each.message)]


def worst_of_rollout(model: CausalLM, oracle: Oracle, lengths: Sequence[int], steps: int = 3) -> float:
    """Largest error of logits while rows of different lengths grow side by side."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(4, 64, (len(lengths), max(lengths) + steps), generator=generator)
    cache, sizes, worst = PrefixCache(model, len(lengths), rows.shape[1]), torch.tensor(lengths), 0.0
    for _ in range(steps):
        states = cache.hidden(TextBatch.of_ids(rows, sizes))
        for row, size, state in zip(rows, sizes.tolist(), states, strict=True):
            expected = oracle(model.network, row[:size].tolist())
            worst = max(worst, float((model.logits(state) - expected).abs().max()))
        sizes = sizes + 1
    return worst


# ------------------------------------------------------------------ other names of arguments


class Renamed(nn.Module):
    """A trunk that takes its cache under one name only, and (or not) a mask."""

    def __init__(self, trunk: Any, name: str, *, takes_mask: bool = True, takes_positions: bool = True) -> None:
        super().__init__()
        self.inner, self.name, self.takes_mask, self.takes_positions = trunk, name, takes_mask, takes_positions
        self.config, self.embed_tokens = trunk.config, trunk.embed_tokens

    def forward(self, input_ids: Tensor, **named: Any) -> Any:
        cache = named.get(self.name)
        if not self.takes_mask:
            named.pop("attention_mask", None)
        if not self.takes_positions:
            named.pop("position_ids", None)
        kept = {key: named[key] for key in ("attention_mask", "position_ids", "use_cache") if key in named}
        return self.inner(input_ids=input_ids, **kept, **({argument_of_release(): cache} if cache is not None else {}))


def argument_of_release() -> str:
    """What the installed transformers calls the argument."""
    release = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return "cache" if release >= (5, 24) else "past_key_values"


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_is_found_under_its_present_and_its_former_name(name: str, make_network: Any, oracle: Oracle) -> None:
    network = make_network("llama")
    network.model = Renamed(network.model, name)
    model, said = said_at_load(network)
    assert model.findings.arguments.cache == name
    assert said == []
    assert worst_of_rollout(model, oracle, [9, 3, 20]) < 1e-9


@pytest.mark.parametrize(
    "changes",
    [{"name": "kv"}, {"name": "cache", "takes_mask": False}, {"name": "cache", "takes_positions": False}],
    ids=["cache renamed", "mask ignored", "positions ignored"],
)
def test_what_a_trunk_ignores_makes_it_uncached_and_is_said_once(
    changes: dict[str, Any], make_network: Any, oracle: Oracle
) -> None:
    network = make_network("llama")
    network.model = Renamed(network.model, **changes)
    model, said = said_at_load(network)
    assert not model.is_cacheable
    assert len(said) == 1
    assert "LlamaForCausalLM is not continued from keys and values" in said[0]
    assert "every generated token reads its whole text again" in said[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert worst_of_rollout(model, oracle, [9, 3, 20]) < 1e-9
        generate(model, [[5, 6], [7]], max_new_tokens=3, eos_ids=[])
        model.require_context(32)


def test_findings_say_what_is_lost(make_network: Any) -> None:
    cached, uncached = CausalLM(make_network("gpt2")).findings, CausalLM(make_network("bloom")).findings
    assert (cached.is_cacheable, cached.reason, cached.cost) == (True, "", "")
    assert not uncached.is_cacheable
    assert "keys and values" in uncached.reason
    assert "reads its whole text again" in uncached.cost


# ------------------------------------------------------------------ causality

_TRANSLATOR = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 64}
_TRANSLATOR |= {
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
_MASKED = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 64}


@pytest.mark.parametrize(
    ("kind", "auto", "settings"),
    [
        ("Bart", "AutoModelForSeq2SeqLM", _TRANSLATOR),
        ("MBart", "AutoModelForSeq2SeqLM", _TRANSLATOR),
        ("XLNet", "AutoModelForCausalLM", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 64}),
        ("XLM", "AutoModelForCausalLM", _MASKED),
        ("Flaubert", "AutoModelForMaskedLM", _MASKED),
        ("Bert", "AutoModelForCausalLM", {**_SMALL, "intermediate_size": 48}),
    ],
)
def test_models_in_which_earlier_tokens_see_later_ones_are_refused(
    kind: str, auto: str, settings: dict[str, Any]
) -> None:
    network = network_of(kind, auto, **settings)
    with pytest.raises(ModelError, match=r"earlier tokens see later ones .* load a \*ForCausalLM"):
        CausalLM(network)
    # What an untrained network does is seen as well, though its weights are small.
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.02 / float(parameter.std()))
    with pytest.raises(ModelError, match="earlier tokens see later ones"):
        CausalLM(network)


def test_an_encoder_decoder_that_wants_two_texts_is_refused() -> None:
    settings = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 64}
    with pytest.raises(ModelError, match=r"expected a causal LM, .*T5ForConditionalGeneration.* load a \*ForCausalLM"):
        CausalLM(network_of("T5", "AutoModelForSeq2SeqLM", **settings))


@pytest.mark.parametrize("kind", ["Bart", "MBart"])
def test_folders_of_encoder_decoders_and_of_decoders_alone_are_told_apart(kind: str, tmp_path: Path) -> None:
    network_of(kind, "AutoModelForSeq2SeqLM", **_TRANSLATOR).save_pretrained(tmp_path / "whole")
    network_of(kind, **_TRANSLATOR).save_pretrained(tmp_path / "decoder")
    for name in ("whole", "decoder"):
        assert is_encoder_decoder(tmp_path / name) is (name == "whole")
        with pytest.raises(CheckpointError, match="expected a tokenizer"):  # all else is right
            load_language_model(tmp_path / name)


# ------------------------------------------------------------------ windows and chunks


def test_local_attention_counted_from_the_longest_row(oracle: Oracle) -> None:
    """GPT-Neo counts its window from the last column of the batch, not from the end of the row."""
    settings = {"vocab_size": 64, "hidden_size": 32, "num_layers": 4, "num_heads": 4, "window_size": 100}
    network = network_of("GPTNeo", **settings, attention_types=[[["global", "local"], 2]], max_position_embeddings=256)
    model, said = said_at_load(network)
    assert model.is_cacheable
    assert said == []
    assert model.caches(64)
    with pytest.warns(UserWarning, match="GPTNeoForCausalLM is not continued .* in texts of 130 tokens"):
        model.require_context(130)
    assert model.caches(90)
    assert not model.caches(120)
    assert worst_of_rollout(model, oracle, [60, 12]) < 1e-4
    assert worst_of_rollout(model, oracle, [126, 30]) < 1e-4
    row = list(range(4, 34))
    theirs = [int(oracle(network, row).argmax())]
    assert generate(model, [list(range(4, 64)) * 2, row], max_new_tokens=1, eos_ids=[], temperature=0)[1] == theirs


@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_texts_within_a_sliding_window_are_cached(kind: str, make_network: Any, oracle: Oracle) -> None:
    model, said = said_at_load(make_network(kind, sliding_window=80, max_position_embeddings=256))
    assert model.is_cacheable
    assert said == []
    assert worst_of_rollout(model, oracle, [70, 5]) < 1e-6
    with pytest.warns(UserWarning, match="in texts of 103 tokens"):
        assert worst_of_rollout(model, oracle, [100, 5]) < 1e-6


def test_llama_4_works_through_its_decoder(oracle: Oracle) -> None:
    network = network_of(
        "Llama4Text",
        **_GROUPED,
        intermediate_size_mlp=64,
        head_dim=8,
        num_local_experts=2,
        attention_chunk_size=80,
        max_position_embeddings=256,
    )
    assert network.base_model is network
    model = CausalLM(network)
    assert model.trunk is network.model
    assert model.is_cacheable
    assert worst_of_rollout(model, oracle, [60, 9]) < 1e-4
    with pytest.warns(UserWarning, match="is not continued from keys and values in texts of 128 tokens"):
        model.require_context(128)
    assert worst_of_rollout(model, oracle, [120, 9]) < 1e-4


def test_rotations_that_switch_with_length_end_the_context(oracle: Oracle) -> None:
    """Phi-3's longrope takes other factors for the whole text once it is longer: its beginning changes in hindsight."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10000.0}
    for original in (24, 100):
        settings = {"original_max_position_embeddings": original, "max_position_embeddings": 128}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = CausalLM(network_of("Phi3", **_GROUPED, rope_parameters=dict(rope), **settings))
        model.require_context(original)
        with pytest.raises(ModelError, match=f"at least {original + 1} tokens for prompt and response, got {original}"):
            model.require_context(original + 1)
        assert model.context_length == original
        assert worst_of_rollout(model, oracle, [original - 3, 4]) < 1e-4


def test_the_narrow_copy_of_a_large_model_is_small() -> None:
    config = transformers.GPT2Config()
    with torch.device("meta"):
        trunk = transformers.GPT2Model(config)
    probe = narrow_probe(Trunk(trunk, config)).probe
    assert probe is not None
    copied = probe.trunk.module
    assert sum(parameter.numel() for parameter in copied.parameters()) < 3_000_000
    assert copied.config.n_embd // copied.config.n_head == config.n_embd // config.n_head
    assert not probe.cached(64).reason
    assert narrow_probe(Trunk(trunk, config)).probe is probe


def test_the_narrow_copy_of_a_model_without_an_inner_width_has_a_small_one() -> None:
    config = transformers.GPT2Config()
    with torch.device("meta"):
        trunk = transformers.GPT2Model(config)
    copied = narrow_copy(Trunk(trunk, config))
    assert isinstance(copied, tuple)
    assert copied[0].module.h[0].mlp.c_fc.weight.shape == (128, 64)
    assert config.n_inner is None


# ------------------------------------------------------------------ cost


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "mamba", "bloom"])
def test_a_model_reads_few_tokens_when_it_is_loaded(kind: str, make_network: Any) -> None:
    network, read = make_network(kind), []
    network.get_input_embeddings().register_forward_pre_hook(lambda _module, given: read.append(given[0].numel()))
    model = CausalLM(network)
    assert 0 < sum(read) <= 128
    read.clear()
    model.require_context(60)
    assert read == []


def test_an_argument_that_takes_no_cache_is_tried_once(make_network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    decode = probe._decode

    def noting(trunk: Trunk, *arguments: Any, **named: Any) -> Any:
        tried.append(str(trunk.arguments.cache))
        return decode(trunk, *arguments, **named)

    monkeypatch.setattr(probe, "_decode", noting)
    monkeypatch.setattr(probe, "CACHE_NAMES", ("another", *probe.CACHE_NAMES))
    model = CausalLM(make_network("llama", hidden_size=48))  # of which there is no narrow copy yet
    model.require_context(100)
    assert model.is_cacheable
    assert tried.count("another") == 1
    assert tried.count(str(model.findings.arguments.cache)) == 3  # 64 tokens, the model itself, 100 tokens


def test_loading_changes_no_state_of_random_generators(make_network: Any) -> None:
    network = make_network("llama")
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    CausalLM(network)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()


def test_a_model_that_is_loaded_in_inference_mode_generates(make_network: Any) -> None:
    expected = generate(CausalLM(make_network("llama")), [[5, 6]], max_new_tokens=4, eos_ids=[], temperature=0)
    with torch.inference_mode():
        model = CausalLM(make_network("llama"))
        assert model.is_cacheable
        assert generate(model, [[5, 6]], max_new_tokens=4, eos_ids=[], temperature=0) == expected


def test_loading_leaves_modes_and_weights_as_they_are(make_network: Any) -> None:
    network = make_network("gpt2")
    network.train()
    network.transformer.h[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    CausalLM(network)
    assert network.training
    assert network.transformer.h[0].mlp.training
    assert not network.transformer.h[1].mlp.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ------------------------------------------------------------------ the form of logits


class NoNumbers:
    def __init__(self, **numbers: float) -> None:
        self.numbers = numbers

    def to_dict(self) -> dict[str, float]:
        return self.numbers


@pytest.mark.parametrize(
    "form",
    [
        LogitForm(),
        LogitForm(0.0625),
        LogitForm(divisor=8.0),
        LogitForm(cap=30.0),
        LogitForm(multiplier=0.5, cap=50.0),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_forms_of_logits_are_fitted(form: LogitForm, named: bool) -> None:
    plain = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = plain * torch.tensor([3.0, 1e-5, 1e4])[:, None, None]
    numbers = {"scale": form.multiplier, "by": form.divisor, "cap": form.cap or 1.0} if named else {}
    found = fit_form(plain, form(plain), NoNumbers(**numbers))
    assert found is not None
    if named:
        assert found == form
    torch.testing.assert_close(found(plain), form(plain), rtol=1e-6, atol=1e-9)


def test_other_forms_are_not_taken_for_known_ones() -> None:
    plain = (
        torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))
        * torch.tensor([3.0, 1e-5, 1e4])[:, None, None]
    )
    for other in (
        plain.flip(-1),
        plain + 0.1 * plain.roll(1, -1),
        plain.clamp(max=2.0),
        plain.sign() * plain.abs().sqrt(),
    ):
        assert fit_form(plain, other, NoNumbers()) is None


def test_a_soft_cap_is_found_whatever_it_is_called(oracle: Oracle) -> None:
    """RecurrentGemma's has a name of its own, and small weights hide it."""
    settings = {**_SMALL, "num_key_value_heads": 1, "intermediate_size": 48, "lru_width": 32, "head_dim": 8}
    network = network_of("RecurrentGemma", **settings, attention_window_size=16, logits_soft_cap=7.0)
    model, said = said_at_load(network)
    assert model.findings.form.cap == 7.0
    assert len(said) == 1
    assert worst_of_rollout(model, oracle, [12, 5]) < 1e-4


# ------------------------------------------------------------------ numbers called like windows

_LONG: dict[str, Any] = {**_GROUPED, "max_position_embeddings": 32768}
_SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def caches(network: Any, tokens: int) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CausalLM(network).caches(tokens)


@pytest.mark.parametrize(
    ("kind", "settings", "tokens"),
    [
        ("Llama", {}, 3000),
        ("Llama", {"rope_parameters": {**_SCALED, "original_max_position_embeddings": 2500}}, 3000),
        ("Qwen2", {"use_sliding_window": False, "sliding_window": 2500, "max_window_layers": 28}, 3000),
        ("Qwen3", {"head_dim": 8, "max_window_layers": 28}, 3000),
        ("Mixtral", {"num_local_experts": 4}, 3000),
        ("Mistral", {"sliding_window": None}, 3000),
    ],
)
def test_counts_and_unused_numbers_are_not_taken_for_windows(kind: str, settings: dict[str, Any], tokens: int) -> None:
    assert caches(network_of(kind, **{**_LONG, **settings}), tokens)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Mistral", {"sliding_window": 2500}),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 2500, "max_window_layers": 1}),
    ],
)
def test_windows_longer_than_probed_texts_are_found(kind: str, settings: dict[str, Any]) -> None:
    network = network_of(kind, **{**_LONG, **settings})
    assert caches(network, 2400)
    assert not caches(network, 3000)


def test_texts_beyond_probed_ones_cost_no_more_than_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.models.probing.findings._LONGEST_PROBE", 96)
    network = network_of("Qwen3", **_LONG, head_dim=8, max_window_layers=28)
    model = CausalLM(network)
    probe = narrow_probe(Trunk(network.model, network.config)).probe
    assert probe is not None
    read: list[int] = []
    probe.trunk.module.register_forward_pre_hook(
        lambda _module, _arguments, named: read.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    model.prepare(8192)
    assert model.is_cacheable
    assert 0 < max(read) <= 96
