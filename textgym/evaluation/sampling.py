"""Texts of a language model for examples of a task, and how likely another model finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from textgym import console
from textgym.models.decoding.generation import generate
from textgym.models.log_probs import response_log_probs
from textgym.models.text_model import TextModel
from textgym.tasks.base import prompt_of
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, FloatArray, Task


@dataclass(frozen=True, slots=True)
class Samples:
    """One sampled response per example.

    Attributes:
        prompts: Prompt ids.
        ids: Sampled ids, the EOS included where it was reached.
        texts: The responses as a user sees them.
        ended: Whether each was ended by EOS (else by the budget).
    """

    prompts: list[list[int]]
    ids: list[list[int]]
    texts: list[str]
    ended: list[bool]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How texts are sampled; the same settings and seed give the same texts.

    Attributes:
        max_prompt_tokens, max_new_tokens: Budgets.
        temperature: Divides the logits; 0 takes the most likely token.
        seed: Of a generator of its own.
        batch_size: Texts decoded side by side.
    """

    max_prompt_tokens: int
    max_new_tokens: int
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 64


def encode_prompts(task: Task, examples: Sequence[Example], tokenizer: Tokenizer, budget: int) -> list[list[int]]:
    """Return the prompt ids of ``n`` examples as environments encode them, each of at most ``budget`` ids."""
    prompts = [prompt_of(task, example) for example in examples]
    return [prompt.ids for prompt in tokenizer.encode_prompts(prompts, budget)]


def sample_texts(
    model: TextModel, task: Task, examples: Sequence[Example], sampling: Sampling, title: str | None = None
) -> Samples:
    """Sample one response per example.

    Args:
        model: Writes.
        task: Formats the prompts.
        examples: What is asked.
        sampling: Budgets, temperature, seed.
        title: What the progress bar is called; no bar without.
    """
    tokenizer = model.tokenizer
    prompts = encode_prompts(task, examples, tokenizer, sampling.max_prompt_tokens)
    generator = torch.Generator(device=model.device).manual_seed(sampling.seed)
    if title is None:
        ids = _generate(model, prompts, sampling, generator, None)
    else:
        with console.progress(title, len(prompts), "texts") as ticker:
            ids = _generate(model, prompts, sampling, generator, ticker)
    ends = set(tokenizer.eos_ids)
    texts = tokenizer.decode_batch([[token for token in row if token not in ends] for row in ids])
    return Samples(prompts, ids, texts, [bool(row) and row[-1] in ends for row in ids])


def _generate(
    model: TextModel,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
    ticker: console.Ticker | None,
) -> list[list[int]]:
    return generate(
        model,
        prompts,
        max_new_tokens=sampling.max_new_tokens,
        eos_ids=model.tokenizer.eos_ids,
        temperature=sampling.temperature,
        generator=generator,
        batch_size=sampling.batch_size,
        progress=None if ticker is None else ticker.advance,
    )


def log_probs_of_texts(model: TextModel, samples: Samples, temperature: float = 1.0) -> FloatArray:
    """Return the log-probability of every sampled response given its prompt, shape ``(n,)``, in nats.

    Args:
        model: Whose probabilities are meant.
        samples: Prompts and responses.
        temperature: Above 0; divides the logits.
    """
    return response_log_probs(model, samples.prompts, samples.ids, temperature)
