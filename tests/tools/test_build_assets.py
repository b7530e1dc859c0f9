from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import build_assets
import pytest
import torch
from build_assets import Shape, StartModel, build_start, save_model
from safetensors.torch import load_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from textgym.assets import TINY_TEMPERATURE
from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, composed
from textgym.models import CausalLM
from textgym.registration import register_task
from textgym.tasks import TextTask
from textgym.types import Split


def test_the_model_ships_sharper_and_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = CausalLM(GPTNeoXForCausalLM(config))
    save_model(model, tmp_path, TINY_TEMPERATURE)
    shipped = GPTNeoXForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = model.network(ids).logits / TINY_TEMPERATURE
        assert torch.allclose(shipped.float()(ids).logits, expected, rtol=1e-2, atol=1e-2)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    # What plain transformers loads can be trained: half precision would become NaN in one step.
    assert {each.dtype for each in GPTNeoXForCausalLM.from_pretrained(tmp_path).parameters()} == {torch.float32}


def sums(split: Split) -> GeneratedDataset:
    def compose(draws: Draws) -> Item:
        first, second = draws.whole(1, 40), draws.whole(1, 40)
        total = (str(first + second),)
        return Item(f"{first} {second}", f"{first} + {second} =", total, total)

    return GeneratedDataset("sums", split, composed(compose), sizes={"train": 40, "validation": 8, "test": 8})


class Sums(TextTask):
    name = "sums"
    built_in: ClassVar[Any] = {"sums": sums}
    default_data = "sums"
    max_prompt_tokens, max_new_tokens = 24, 4


def test_a_start_model_is_built_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env_id, _ = register_task("TestSums", Sums)
    shape = Shape(vocabulary=280, width=16, layers=1, heads=2, context=64)
    monkeypatch.setitem(build_assets.START_MODELS, "sums", StartModel(env_id, shape=shape, steps=3, batch_size=2))  # type: ignore[arg-type]
    build_start("sums", tmp_path / "assets", tmp_path / "build")
    folder = tmp_path / "assets" / "sums"
    assert "temperature 0:" in capsys.readouterr().out
    assert GPTNeoXForCausalLM.from_pretrained(folder).config.hidden_size == 16
    weights = (folder / "model.safetensors").read_bytes()
    build_start("sums", tmp_path / "assets", tmp_path / "build")  # which finds everything done
    assert (folder / "model.safetensors").read_bytes() == weights
