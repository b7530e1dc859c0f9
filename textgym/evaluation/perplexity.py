"""Perplexity of texts under a language model, and their log-likelihood per token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from textgym.evaluation.loading import load_model
from textgym.models.log_probs import response_log_probs
from textgym.models.text_model import TextModel
from textgym.types import Example, FloatArray


class Likelihood:
    """The mean log-likelihood per token of each text, in nats, under a language model that judges it.

    The end of the text counts as a token of it, so that texts that break off, and empty ones, are judged too. Where
    prompt and text do not fit the context of the model, the beginning of the prompt, and then the end of the text, are
    left out.

    Args:
        model: Name or folder of a language model, or the model itself.
        prompt: Whether the text is judged as what follows its prompt, or by itself.
        device: Device of the model.
    """

    name = "likelihood"

    def __init__(self, model: str | Path | TextModel, prompt: bool = True, device: str = "auto") -> None:
        self._model = model if isinstance(model, TextModel) else load_model(str(model), device)
        self._with_prompt = prompt

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return one number per text, shape ``(n,)``, 0 or below; higher is likelier."""
        tokenizer = self._model.tokenizer
        starts = list(tokenizer.bos_ids or tokenizer.eos_ids[:1])
        texts = [[*ids, *tokenizer.response_end] for ids in tokenizer.encode_response_batch(list(responses))]
        before = tokenizer.encode_batch(list(prompts)) if self._with_prompt else [[] for _ in prompts]
        limit = self._model.context_length
        pairs = [self._cut([*starts, *asked], ids, limit) for asked, ids in zip(before, texts, strict=True)]
        with torch.inference_mode():
            totals = response_log_probs(self._model, [asked for asked, _ in pairs], [ids for _, ids in pairs])
        return totals / np.maximum([len(ids) for _, ids in pairs], 1)

    @staticmethod
    def _cut(asked: list[int], ids: list[int], limit: int | None) -> tuple[list[int], list[int]]:
        """Return both, cut to the context of the model; one token of the prompt at least is kept."""
        if limit is None or len(asked) + len(ids) <= limit:
            return asked, ids
        ids = ids[: limit - 1]
        return asked[-max(1, limit - len(ids)) :], ids


class Perplexity(Likelihood):
    """The perplexity of each text under a language model: ``exp`` of minus the mean log-likelihood per token.

    Args:
        model, prompt, device: As of :class:`Likelihood`.

    References:
        Jelinek et al., "Perplexity: a measure of the difficulty of speech recognition tasks" (1977).
    """

    name = "perplexity"

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return one number per text, shape ``(n,)``, 1 or above; lower is likelier."""
        found: FloatArray = np.exp(-super().__call__(prompts, responses, examples))
        return found
