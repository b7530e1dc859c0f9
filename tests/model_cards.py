"""Small models to write cards for, and the Python in a card, run as its reader would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.chat_templates import write_chat_folder
from textgym.text.tokenizer import Tokenizer


def write_model(folder: Path, template: str | None, kind: str) -> Tokenizer:
    write_chat_folder(folder, template, kind)
    tokenizer = Tokenizer.load(folder)
    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 256, "vocab_size": tokenizer.vocab_size}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_ids[0], "pad_token_id": tokenizer.pad_id}
    GPT2LMHeadModel(GPT2Config(**sizes, **ends)).save_pretrained(folder)
    return tokenizer


def code_of(folder: Path) -> str:
    found = re.search(r"^(`{3,})python\n(.*?)^\1$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[2]


def run_card(folder: Path, document: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    code = code_of(folder)
    assert code.count('"Text to answer."') == 1
    names: dict[str, Any] = {}
    exec(code.replace('"Text to answer."', repr(document)), names)
    return names
