"""Small random encoder-decoders of three kinds with tokenizers of their own: of T5, BART and mBART."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

KINDS = ("t5", "bart", "mbart")
TEXTS = [f"On day {day} the {place} of the town opened, and the council voted." for day in range(9) for place in
         ("harbour", "bridge", "library", "market", "school", "garden")]  # fmt: skip
_BART = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
_BART |= {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 128, "dropout": 0.3}
_SPECIAL = {
    "t5": ["<pad>", "</s>", "<unk>"],
    "bart": ["<s>", "<pad>", "</s>", "<unk>"],
    "mbart": ["<s>", "<pad>", "</s>", "<unk>", "en_XX", "de_DE"],
}
_AROUND = {"t5": "$A </s>", "bart": "<s> $A </s>", "mbart": "$A </s> en_XX"}


def build_network(kind: str, rows: int = 64, *, seed: int = 0, **changes: Any) -> Any:
    """A network with random weights large enough to show mistakes; an offset of its logits is not 0."""
    torch.manual_seed(seed)
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 48, "num_layers": 2, "dropout_rate": 0.3}
        ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        network = T5ForConditionalGeneration(T5Config(vocab_size=rows, **{**sizes, **ids, **changes}))
    elif kind == "bart":
        ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        network = BartForConditionalGeneration(BartConfig(vocab_size=rows, **{**_BART, **ids, **changes}))
        network.generation_config.forced_bos_token_id = 0
    else:
        ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        network = MBartForConditionalGeneration(MBartConfig(vocab_size=rows, **{**_BART, **ids, **changes}))
        network.generation_config.forced_bos_token_id = 5  # the language to translate into
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.3 / float(parameter.std()))
        for buffer in network.buffers(recurse=False):
            buffer.normal_(0.0, 0.5)
    return network


def build_tokenizer(kind: str) -> tokenizers.Tokenizer:
    """A tokenizer trained on a few texts, which puts its special tokens around a text as published ones do."""
    special = _SPECIAL[kind]
    if kind == "bart":
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        backend.decoder = decoders.Metaspace(prepend_scheme="always")
        trainer = trainers.UnigramTrainer(
            vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    backend.train_from_iterator(TEXTS, trainer)
    ids = [(token, backend.token_to_id(token)) for token in special]
    backend.post_processor = processors.TemplateProcessing(single=_AROUND[kind], special_tokens=ids)
    return backend


def write_folder(folder: Path, kind: str, **changes: Any) -> Path:
    """A model in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = build_tokenizer(kind)
    backend.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    if kind != "t5":
        names["bos_token"] = "<s>"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    build_network(kind, backend.get_vocab_size(), **changes).save_pretrained(folder)
    return folder
