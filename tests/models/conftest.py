"""Small random networks of many architectures: two layers, width 32, 64 ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.recorded_steps import recorded

__all__ = ["recorded"]
NetworkFactory = Callable[..., Any]
_NEW = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_GROUPED = {**_NEW, "num_key_value_heads": 2}
_OLD = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_WINDOW = {**_GROUPED, "sliding_window": 8}
_DROPOUT = {"attention_dropout": 0.5, "hidden_dropout": 0.5}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {**_OLD, "resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}),
    "gpt_neox": ("GPTNeoXConfig", {**_NEW, **_DROPOUT}),
    "llama": ("LlamaConfig", {**_GROUPED, "attention_dropout": 0.5}),
    "qwen2": ("Qwen2Config", {**_GROUPED, "attention_dropout": 0.5}),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
            "dropout": 0.5,
            "attention_dropout": 0.5,
            "layerdrop": 0.5,
            "pad_token_id": 0,
        },
    ),
    "falcon": ("FalconConfig", {**_NEW, **_DROPOUT}),
    "gpt_bigcode": ("GPTBigCodeConfig", {**_OLD, "resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5}),
    "persimmon": ("PersimmonConfig", {**_NEW, **_DROPOUT}),
    "granite": ("GraniteConfig", {**_GROUPED, "logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "cohere": ("CohereConfig", {**_GROUPED, "logit_scale": 0.1}),
    "gemma2": ("Gemma2Config", {**_WINDOW, "head_dim": 8, "final_logit_softcapping": 0.05}),
    "mistral": ("MistralConfig", _WINDOW),
    "bloom": ("BloomConfig", {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4, **_DROPOUT}),
    "falcon_alibi": ("FalconConfig", {**_NEW, "alibi": True}),
    "openai_gpt": ("OpenAIGPTConfig", _OLD),
    "mamba": ("MambaConfig", {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}


def build_network(kind: str, dtype: torch.dtype = torch.float64, seed: int = 0, **changes: Any) -> Any:
    """Build a random causal LM of an architecture."""
    name, sizes = _CONFIGS[kind]
    settings = {"pad_token_id": None, "eos_token_id": 1, "bos_token_id": 1, **sizes, **changes}
    torch.manual_seed(seed)
    attention = settings.pop("attn_implementation", None)
    config = getattr(transformers, name)(**settings)
    network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    # Models start with tiny weights: larger ones make every mistake of a mask or a position visible.
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return network.to(dtype).eval()


def bare_logits(network: Any, ids: Sequence[int]) -> Tensor:
    """Next-token logits (V,) of one unpadded text by the Hugging Face model alone: the oracle of every cached path."""
    with torch.no_grad():
        logits: Tensor = network(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    return logits


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_network() -> NetworkFactory:
    """``make_network(kind, dtype, seed, **config)``."""
    return build_network


@pytest.fixture(scope="session")
def oracle() -> Callable[[Any, Sequence[int]], Tensor]:
    """``oracle(network, ids)``: logits (V,) of the bare model."""
    return bare_logits
