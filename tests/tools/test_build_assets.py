from __future__ import annotations

from pathlib import Path

import torch
from build_assets import save_model
from safetensors.torch import load_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from textgym.assets import TINY_TEMPERATURE
from textgym.models import CausalLM


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
    save_model(model, tmp_path)
    shipped = GPTNeoXForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = model.network(ids).logits / TINY_TEMPERATURE
        assert torch.allclose(shipped.float()(ids).logits, expected, rtol=1e-2, atol=1e-2)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    # What plain transformers loads can be trained: half precision would become NaN in one step.
    assert {each.dtype for each in GPTNeoXForCausalLM.from_pretrained(tmp_path).parameters()} == {torch.float32}
