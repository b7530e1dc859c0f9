"""The work that limit and product are given: random weights, prompts of one length, responses that never end.

W1, the default: GPT-2 architecture, 4 layers, width 256, 4 heads, vocabulary 4,096, random weights, fp32; 64 texts of
64 prompt and 48 response tokens; 4 epochs of minibatches of 16 texts; AdamW.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from textgym.agents import make_vec_env
from textgym.hub import resolve_folder
from textgym.models.text_model import Precision
from textgym.spaces import TokenSpace
from textgym.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Workload:
    """Shape of one PPO iteration.

    Attributes:
        vocabulary, width, layers, heads: Sizes of the model: tokens, hidden units, blocks, attention heads.
        prompt, response: Lengths in tokens.
        texts: Texts, and environments.
        epochs: Passes over a rollout.
        minibatch: Texts per optimizer step.
        distinct_prompts: Different prompts among the texts; by default all differ.
        device: Device that models run on.
        precision: Number format of all computations: fp32, or bf16 by autocast.
        architecture: Kind of model.
        kv_heads, inner: Heads of keys and values (Llama), and width of the feed-forward layers; by default
            ``heads`` and four times ``width``.
    """

    vocabulary: int = 4096
    width: int = 256
    layers: int = 4
    heads: int = 4
    prompt: int = 64
    response: int = 48
    texts: int = 64
    epochs: int = 4
    minibatch: int = 16
    distinct_prompts: int | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    architecture: Literal["gpt2", "llama"] = "gpt2"
    kv_heads: int | None = None
    inner: int | None = None

    @property
    def tokens(self) -> int:
        """Response tokens of an iteration."""
        return self.texts * self.response

    @property
    def minibatches(self) -> int:
        """Optimizer steps of an iteration."""
        return self.epochs * math.ceil(self.texts / self.minibatch)

    def smaller(self) -> Workload:
        """The same in tiny sizes, for a smoke test."""
        small = replace(self, width=16, heads=2, layers=1, prompt=16, response=4, texts=4, epochs=1, minibatch=2)
        return replace(small, kv_heads=self.kv_heads and 1, inner=self.inner and 24)

    def language_model(self, seed: int) -> Any:
        """A Hugging Face causal LM with random weights and no dropout."""
        torch.manual_seed(seed)
        with torch.device(self.device):  # large models are drawn there faster than they are copied
            return GPT2LMHeadModel(self._gpt2()) if self.architecture == "gpt2" else LlamaForCausalLM(self._llama())

    def _gpt2(self) -> GPT2Config:
        return GPT2Config(
            n_layer=self.layers,
            n_embd=self.width,
            n_head=self.heads,
            n_inner=self.inner,
            vocab_size=self.vocabulary,
            n_positions=max(1024, self.prompt + self.response),
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )

    def _llama(self) -> LlamaConfig:
        return LlamaConfig(
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.inner or 4 * self.width,
            vocab_size=self.vocabulary,
            max_position_embeddings=max(1024, self.prompt + self.response),
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )


@contextmanager
def environment(work: Workload, reward: Any = None, ends: int = 1, copies: int | None = None) -> Iterator[VecEnv]:
    """Token-level summarization of random words, prompts cut to ``work.prompt`` tokens, as an SB3 ``VecEnv``.

    Args:
        work: The shape.
        reward: Any reward; by default a constant.
        ends: How many ids end a text: a model of random weights then ends a text with probability ends / vocabulary
            at each token.
        copies: Environments; by default ``work.texts``.
    """
    with TemporaryDirectory() as folder:
        model = make_tokenizer(Path(folder) / "tokenizer", work.vocabulary, ends)
        yield make_vec_env(
            "TextSumm-v0",
            n_envs=copies or work.texts,
            seed=0,
            data=str(_write_prompts(Path(folder) / "prompts", work)),
            model=str(model),
            reward=reward or constant,
            max_prompt_tokens=work.prompt,
            max_new_tokens=work.response,
        )


def constant(prompts: Any, responses: Any, examples: Any) -> list[float]:
    """A reward that costs nothing."""
    return [0.0] * len(responses)


def eos_ids(venv: VecEnv) -> list[int]:
    """The ids that end a text of ``venv``."""
    assert isinstance(venv.action_space, TokenSpace)
    return list(Tokenizer.load(venv.action_space.tokenizer).eos_ids)


def make_tokenizer(folder: Path, vocabulary: int, ends: int = 1) -> Path:
    """Write the shipped tokenizer with so many entries, of which ``ends`` end a text."""
    shipped = resolve_folder("tiny", kind="model")
    content = json.loads((shipped / "tokenizer.json").read_text(encoding="utf-8"))
    entries = content["model"]["vocab"]
    for number in range(len(entries), vocabulary):
        entries[f"<entry {number}>"] = number  # no merge makes it, so no text holds it
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text((shipped / "tokenizer_config.json").read_text(encoding="utf-8"))
    eos = Tokenizer.load("tiny").eos_ids[0]
    ids = [eos, *range(len(entries) - ends + 1, len(entries))] if ends > 1 else [eos]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids, "pad_token_id": 0}))
    return folder


def _write_prompts(folder: Path, work: Workload, count: int = 512) -> Path:
    """A data folder whose prompts are longer than ``work.prompt`` tokens, so that all are cut to that."""
    texts = prompts_of(work, work.distinct_prompts or count, more=16)
    folder.mkdir()
    # The other two are there so that the first one is not split.
    for split, prompts in {"train": texts, "validation": ["unused"], "test": ["unused too"]}.items():
        rows = [{"prompt": text, "reference": "none"} for text in prompts]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def prompts_of(work: Workload, count: int, more: int = 0) -> list[str]:
    """Return texts of random words, ``work.prompt`` tokens each, and ``more``."""
    words, rng = _words(), np.random.default_rng(0)
    return [" " + " ".join(rng.choice(words, work.prompt + more)) for _ in range(count)]


@lru_cache
def _words() -> list[str]:
    """Words of the shipped tokenizer that are one token each."""
    tokenizer = Tokenizer.load("tiny")
    words = [word for word in tokenizer.decode_batch([[i] for i in range(4096)]) if word.isalpha()]
    return [word for word in words if len(tokenizer.encode_response(word)) == 1]
