"""A language model of a few thousand weights that knows nothing, and a small data set with references."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from textgym.cli.quiet import quiet_libraries
from textgym.text.tokenizer import Tokenizer


@pytest.fixture(scope="session", autouse=True)  # before what modules share is made: sums depend on the number
def one_thread() -> None:
    torch.set_num_threads(1)
    quiet_libraries()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with the shipped tokenizer and random weights."""
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = Tokenizer.load("tiny")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=768,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_ids[0],
        pad_token_id=tokenizer.pad_id,
        tie_word_embeddings=True,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def short(lm: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with a context of 64 tokens, and positions that end there."""
    folder = tmp_path_factory.mktemp("short")
    tokenizer = Tokenizer.load(lm)
    torch.manual_seed(0)
    sizes = {"vocab_size": tokenizer.vocab_size, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=tokenizer.eos_ids[0])).save_pretrained(folder)
    tokenizer.save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty documents, each with a summary."""
    file = tmp_path_factory.mktemp("data") / "notes.jsonl"
    places = ("harbour", "bridge", "library", "market", "school", "garden")
    rows = [
        {
            "doc": f"On day {number} the {places[number % 6]} of town {number} opened. Nobody asked why.",
            "sum": f"The {places[number % 6]} opened on day {number}.",
        }
        for number in range(60)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)
