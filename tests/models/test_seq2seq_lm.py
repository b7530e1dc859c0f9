"""Encoder-decoders against the bare Hugging Face model, one unpadded text at a time."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    T5ForConditionalGeneration,
)

from tests.model_cards import run_card
from tests.seq2seq_models import KINDS, TEXTS, build_network, write_folder
from textgym.errors import CheckpointError, ModelError
from textgym.models import CausalLM, Seq2SeqLM, generate, load_language_model
from textgym.models.batch import EpisodeBatch, TextBatch, pad_rows
from textgym.models.card import write_card
from textgym.models.decoding import encoded_store
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.log_probs import response_batch, response_log_probs, token_log_probs
from textgym.models.prompt_format import PromptFormat, write_format
from textgym.tasks.base import Prompt
from textgym.text.tokenizer import Tokenizer
from textgym.types import Message

PROMPTS = [[8, 6, 7, 8, 9, 1], [10, 11, 1], [8, 6, 7, 8, 9, 1], [12]]
RESPONSES = [[20, 21, 1], [22, 1, 0, 25, 1], [20, 26], [27]]  # with pads and ends in the middle


def build(kind: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Seq2SeqLM:
    return Seq2SeqLM(build_network(kind, **changes).to(dtype))


def bare_logits(model: Seq2SeqLM, prompt: list[int], response: list[int]) -> Tensor:
    """Logits (1 + R, V) of the bare model before each token of a response and after it."""
    written = torch.tensor([[*model.start_ids, *response]])
    logits: Tensor = model.network(input_ids=torch.tensor([prompt]), decoder_input_ids=written).logits
    return logits[0, len(model.start_ids) - 1 :, : model.vocab_size]


def expected_log_probs(model: Seq2SeqLM) -> Tensor:
    """Log-probabilities of all tokens of the responses by the bare model, with gradients."""
    rows = [
        bare_logits(model, prompt, response)[:-1].log_softmax(-1)[range(len(response)), response]
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]
    return torch.cat(rows)


# ------------------------------------------------------------------ whole texts
@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_and_gradients_are_those_of_the_bare_model(kind: str, mode: bool) -> None:
    model = build(kind).train(mode)  # there is no dropout in either
    ours = token_log_probs(model, *response_batch(model, PROMPTS, RESPONSES))
    parameters = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(ours.square().sum(), parameters)
    expected = expected_log_probs(model.eval())
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)
    for one, other in zip(found, torch.autograd.grad(expected.square().sum(), parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # T5's norm computes in fp32
    sums = [part.sum() for part in expected.detach().split([len(response) for response in RESPONSES])]
    texts = response_log_probs(model, PROMPTS, RESPONSES)
    torch.testing.assert_close(torch.from_numpy(texts), torch.stack(sums), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_in_fp32_and_in_bf16(kind: str) -> None:
    model = build(kind, torch.float32)
    batch, actions = response_batch(model, PROMPTS, RESPONSES)
    with torch.no_grad():
        expected = expected_log_probs(model)
        torch.testing.assert_close(token_log_probs(model, batch, actions), expected, rtol=0, atol=1e-4)
        model.compute_in("bf16")
        rounded = token_log_probs(model, batch, actions)
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((rounded - expected).abs().mean()) < 0.3


def test_a_prompt_that_texts_share_is_encoded_once() -> None:
    model, read = build("t5"), []
    model.encoder.register_forward_hook(lambda part, given, output: read.append(output[0].shape[:2]))
    batch, _ = response_batch(model, PROMPTS, RESPONSES)
    states = model.hidden(batch)
    assert read == [(3, 6)]
    swapped = batch._replace(input_ids=batch.input_ids.flip(0), prompt_lengths=batch.prompt_lengths.flip(0))
    again = model.hidden(swapped._replace(rows=3 - batch.rows))
    torch.testing.assert_close(again, states, rtol=0, atol=1e-9)


def test_a_prompt_is_read_and_not_written() -> None:
    model, one = build("bart"), torch.tensor([0])
    with pytest.raises(ModelError, match="expected positions in responses, got one in a prompt"):
        model.hidden(EpisodeBatch(torch.tensor([[5, 6, 7]]), torch.tensor([3]), one, torch.tensor([1])))
    with pytest.raises(ModelError, match="expected prompts of at least one token"):
        model.hidden(EpisodeBatch(torch.tensor([[5, 6, 7]]), torch.tensor([0]), one, torch.tensor([1])))


# ------------------------------------------------------------------ token by token
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_grow_end_and_change_prompts_have_the_states_of_whole_texts(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_store, "_COLUMNS", 4)  # which are soon full
    model, generator = build(kind), torch.Generator().manual_seed(0)
    cache = PrefixCache(model, 4, 100)
    prompts, responses = [list(prompt) for prompt in PROMPTS], [[], [20, 21], [], [30]]
    tokens = torch.randint(0, 64, (36, 4), generator=generator).tolist()
    for step, new in enumerate(tokens):
        ids, lengths = pad_rows([*(a + b for a, b in zip(prompts, responses, strict=True)), [0] * 100], 0)
        given = torch.tensor([len(prompt) for prompt in prompts])
        states = cache.hidden(TextBatch(ids[:4], lengths[:4], given))
        if step % 2 == 0:
            with torch.no_grad():
                expected = [bare_logits(model, a, b)[-1] for a, b in zip(prompts, responses, strict=True)]
            torch.testing.assert_close(model.logits(states), torch.stack(expected), rtol=0, atol=1e-9)
        responses = [[*response, token] for response, token in zip(responses, new, strict=True)]
        if step % 11 == 3:
            row = step % 3  # the last row goes on to the end
            prompts[row], responses[row] = list(range(5, 6 + step % 7)), []
        if step == 7:  # the same ids, of which more were given
            prompts[1], responses[1] = prompts[1] + responses[1], []


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_those_of_transformers(kind: str) -> None:
    model = build(kind, torch.float32)
    ours = generate(model, PROMPTS, max_new_tokens=9, eos_ids=[50], temperature=0, batch_size=3)
    # transformers counts a token that is forced, and forces the last one.
    options = {"max_new_tokens": 8 + len(model.start_ids), "do_sample": False, "eos_token_id": 50}
    model.network.generation_config.forced_eos_token_id = None
    for prompt, response in zip(PROMPTS, ours, strict=True):
        theirs = model.network.generate(torch.tensor([prompt]), **options)[0].tolist()
        assert [*model.start_ids, *response] == theirs[: len(model.start_ids) + len(response)]
        assert response[-1] == 50 or len(response) == 9


def test_prompts_are_encoded_once_and_responses_read_token_by_token() -> None:
    model, read = build("bart"), {"encoder": 0, "decoder": 0}
    for part in read:

        def count(module: nn.Module, given: object, named: dict[str, Any], part: str = part) -> None:
            read[part] += named["input_ids"].numel() if "input_ids" in named else 0

        getattr(model, part).register_forward_pre_hook(count, with_kwargs=True)
    generate(model, PROMPTS[:3], max_new_tokens=12, eos_ids=[], temperature=0)
    assert read == {
        "encoder": 2 * 6,
        "decoder": 2 * 2 + 3 * 11,
    }  # two prompts differ; nothing follows the last


def test_changed_weights_are_seen() -> None:
    model = build("bart")
    cache, texts = PrefixCache(model, 1, 32), TextBatch.of_ids(torch.tensor([[5, 6, 7, 8]]), torch.tensor([3]))
    texts = texts._replace(prompt_lengths=torch.tensor([2]))
    before = cache.hidden(texts).clone()
    longer = texts._replace(lengths=torch.tensor([4]))
    cache.hidden(longer)
    with torch.no_grad():
        model.decoder.embed_positions.weight.mul_(1.5)  # the vectors of places are learned, too
        found = cache.hidden(longer)
        torch.testing.assert_close(model.logits(found)[0], bare_logits(model, [5, 6], [7, 8])[-1], rtol=0, atol=1e-9)
    assert not torch.allclose(cache.hidden(texts), before)


# ------------------------------------------------------------------ properties
def test_what_is_found() -> None:
    t5, bart, mbart = (build(kind) for kind in KINDS)
    assert [model.start_ids for model in (t5, bart, mbart)] == [(0,), (2, 0), (2, 5)]
    assert t5.findings.form.divisor == 32**0.5  # tied to the embeddings, T5 scales its states
    assert (t5.findings.offset, t5.findings.places, t5.context_length) == ("", "", None)
    assert (bart.findings.offset, bart.findings.places) == ("final_logits_bias", "embed_positions")
    assert all(model.findings.cache and not model.findings.reason for model in (t5, bart, mbart))


def test_prompt_and_response_have_a_context_each() -> None:
    model = build("bart")  # 128 positions
    model.require_context(128 + 126, response=126)
    with pytest.raises(ModelError, match="context of at least 129 tokens"):
        model.require_context(128 + 127, response=127)
    with pytest.raises(ModelError, match="context of at least 129 tokens"):
        model.require_context(129 + 4, response=4)
    assert (model.room_for_prompt(126), model.room_for_prompt(127)) == (128, 0)
    prompt, response = [7] * 128, [9] * 126
    with torch.no_grad():
        ours = token_log_probs(model, *response_batch(model, [prompt], [response]))
        expected = bare_logits(model, prompt, response)[:-1].log_softmax(-1)[:, 9]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)
    assert len(generate(model, [prompt], max_new_tokens=126, eos_ids=[], temperature=0)[0]) == 126


def test_a_decoder_that_cannot_be_continued_is_right_and_slow_and_says_so() -> None:
    """M2M100 does not count a pad that was written as a place, which shows when responses are continued."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    network = M2M100ForConditionalGeneration(M2M100Config(vocab_size=64, decoder_start_token_id=2, **sizes, **heads))
    with pytest.warns(UserWarning, match=r"M2M100.* is not continued from keys and values: .* encodes its prompt"):
        model = Seq2SeqLM(network.double())
    assert not model.caches(40)
    (response,) = generate(model, [[5, 6, 7]], max_new_tokens=6, eos_ids=[], temperature=0)
    for step, token in enumerate(response):
        assert token == int(bare_logits(model, [5, 6, 7], response[:step])[-1].argmax())


class Blurred(T5ForConditionalGeneration):
    """Logits that follow from the states of several tokens."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        output = super().forward(*arguments, **named)
        output.logits = output.logits + output.logits.cumsum(1)
        return output


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelError, match=r"expected one decoder_start_token_id for T5.*, got None; set it in"):
        build("t5", decoder_start_token_id=None)
    causal = load_language_model("tiny").network
    with pytest.raises(ModelError, match="expected an encoder-decoder, got GPTNeoX"):
        Seq2SeqLM(causal)
    network = Blurred(build_network("t5").config)
    with pytest.raises(ModelError, match="got another form in Blurred; this architecture is not"):
        Seq2SeqLM(network)
    network = build_network("bart")
    network.model.encoder.register_forward_pre_hook(
        lambda part, given, named: (given, {**named, "attention_mask": None}), with_kwargs=True
    )
    with pytest.raises(ModelError, match="do not depend on what a prompt is padded with"):
        Seq2SeqLM(network)


def test_a_copy_is_a_model_of_its_own() -> None:
    model = build("mbart")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.network.get_output_embeddings().weight.mul_(2)
    batch, actions = response_batch(model, PROMPTS, RESPONSES)
    one, other = (token_log_probs(each, batch, actions).detach() for each in (model, twin))
    torch.testing.assert_close(one, expected_log_probs(model).detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(other, expected_log_probs(twin).detach(), rtol=0, atol=1e-9)


# ------------------------------------------------------------------ folders
@pytest.mark.parametrize("kind", KINDS)
def test_folders(kind: str, tmp_path: Path) -> None:
    """A folder is loaded as what it is, saved so that transformers opens it, and its prompts are the tokenizer's."""
    folder = write_folder(tmp_path / "model", kind)
    model = load_language_model(folder)
    assert isinstance(model, Seq2SeqLM)
    bare, text = AutoTokenizer.from_pretrained(folder), TEXTS[3]
    tokenizer = model.tokenizer
    assert tokenizer.encode_prompt("", text, "", 100).ids == bare(text).input_ids
    assert tokenizer.encode_response(text) == bare(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(tokenizer.encode_response(text)) == text
    cut = tokenizer.encode_prompt("Sum up: ", f"{text} " * 9, " Now:", 60)
    assert cut.truncated
    assert len(cut.ids) <= 60
    assert tokenizer.prompt_end
    assert cut.ids[-len(tokenizer.prompt_end) :] == list(tokenizer.prompt_end)
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved")
    ids, start = torch.tensor([bare(text).input_ids]), torch.tensor([model.start_ids])
    with torch.no_grad():
        expected = model.network(input_ids=ids, decoder_input_ids=start).logits
        torch.testing.assert_close(again(input_ids=ids, decoder_input_ids=start).logits, expected)
    assert load_language_model(tmp_path / "saved").start_ids == model.start_ids  # type: ignore[attr-defined]


def test_the_tokenizer_of_an_encoder_decoder_is_another_one(tmp_path: Path) -> None:
    """A prompt has other ids: an environment with the tokenizer alone does not fit the model."""
    folder = write_folder(tmp_path / "model", "t5")
    whole = Tokenizer.load(folder)
    (folder / "config.json").rename(tmp_path / "config.json")
    alone = Tokenizer.load(folder)
    assert whole.fingerprint != alone.fingerprint
    assert whole.encode_prompts([Prompt("", "a", "")], 9)[0].ids == [*alone.encode("a"), 1]
    assert alone.encode_prompts([Prompt("", "a", "")], 9)[0].ids == alone.encode("a")
    said = [Message("user", "the town")]
    assert whole.encode_reply(said, 64, ended=True).ids == [*alone.encode_reply(said, 64, ended=True).ids, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_of_a_model_writes_what_it_wrote(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "model", kind)
    model = load_language_model(folder)
    (folder / "generation_config.json").write_text(
        (folder / "generation_config.json").read_text().replace("{", '{"num_beams": 4, "min_length": 8,', 1)
    )
    asked = {"task": "mine", "chat_prompt_template": None, "uses_chat_template": False, "max_prompt_tokens": 100}
    write_format(folder, PromptFormat(prompt_template="{prompt} So:", max_new_tokens=6, temperature=1e-3, **asked))
    write_card(folder, method="magic", start_model="mine")
    assert "pipeline_tag: text2text-generation" in (folder / "README.md").read_text()
    ids = model.tokenizer.encode_prompt("", TEXTS[0], " So:", 100).ids
    (response,) = generate(model, [ids], max_new_tokens=6, eos_ids=model.tokenizer.eos_ids, temperature=0)
    assert run_card(folder, TEXTS[0], monkeypatch)["text"] == model.tokenizer.decode(response)


def test_families_are_told_apart(tmp_path: Path) -> None:
    network = build_network("bart")
    assert isinstance(load_language_model(network), Seq2SeqLM)
    with pytest.raises(ModelError, match="expected a causal LM, got BartForConditionalGeneration"):
        CausalLM(network)
    network.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected a tokenizer"):
        load_language_model(tmp_path)
    write_folder(tmp_path, "bart")
    network.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="expected a model with at least 320 output rows, got 64"):
        load_language_model(tmp_path)


def test_an_adapter_in_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    base = load_language_model(write_folder(tmp_path / "base", "t5"))
    base.add_lora(2)
    with torch.no_grad():
        for name, parameter in base.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    base.adapter.save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "../base"}))
    base.tokenizer.save(tmp_path / "adapter")
    assert Tokenizer.load(tmp_path / "adapter").fingerprint == base.tokenizer.fingerprint
    again = load_language_model(tmp_path / "adapter")
    assert isinstance(again, Seq2SeqLM)
    batch, actions = response_batch(base, PROMPTS, RESPONSES)
    torch.testing.assert_close(token_log_probs(again, batch, actions), token_log_probs(base, batch, actions))
