"""Supervised fine-tuning: a language model imitates given responses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textgym.envs.prompts import prompt_pieces
from textgym.errors import DataError
from textgym.models.generation import pad_rows
from textgym.models.language_model import LanguageModel
from textgym.tokenization import Tokenizer
from textgym.types import Dataset, Example, Task

_POOL = 64  # batches whose texts are sorted by length together, so that little padding is computed


class TokenPair(NamedTuple):
    """A prompt and the response to imitate, as ids; the response ends with EOS."""

    prompt: list[int]
    response: list[int]


def encode_pairs(
    task: Task, dataset: Dataset, tokenizer: Tokenizer, limit: int | None = None, context_length: int | None = None
) -> list[TokenPair]:
    """Encode what supervised training imitates: demonstrations, or else references.

    Args:
        task: Formats the prompts.
        dataset: The examples.
        tokenizer: That of the model.
        limit: How many examples are used; ``None`` for all.
        context_length: Most tokens of prompt and response together. A prompt that leaves its response too little room
            is cut further, at the end of its document. A response is never cut: one that does not fit even without the
            document is left out, with a warning that counts them.

    Raises:
        DataError: If no example has either, or nothing fits.
        ModelError: If the tokenizer has no token that ends a text.
    """
    end = tokenizer.require_eos()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    examples = [dataset[i] for i in range(count)]
    prompts = _encode_prompts(task, examples, tokenizer)
    pairs, too_long = [], 0
    for example, prompt in zip(examples, prompts, strict=True):
        for text in example.demonstrations or example.references:
            response = [*tokenizer.encode_response(text), end]
            fitting = _fit_prompt(task, example, tokenizer, prompt, (context_length or math.inf) - len(response))
            too_long += fitting is None
            if fitting is not None:
                pairs.append(TokenPair(fitting, response))
    if not pairs:
        wanted, mend = "references to imitate", "name their column with reference_column"
        if too_long:
            wanted = f"references of at most {context_length} tokens with their prompts"
            mend = "shorten them or the prompt template, or use a model with a longer context"
        raise DataError(f"expected {wanted} in {dataset.name!r}, got none; {mend}")
    if too_long:
        warnings.warn(
            f"left out {too_long} of {too_long + len(pairs)} references in {dataset.name!r}: with the shortest prompt "
            f"they do not fit the context of {context_length} tokens",
            stacklevel=2,
        )
    return pairs


def _fit_prompt(task: Task, example: Example, tokenizer: Tokenizer, prompt: list[int], room: float) -> list[int] | None:
    """Return the prompt in at most ``room`` tokens; ``None`` if what stands around the document is longer already."""
    if len(prompt) <= room:
        return prompt
    if room < 1:
        return None
    try:
        return tokenizer.encode_prompt(*prompt_pieces(task, example), int(room)).ids
    except ValueError:
        return None


def _encode_prompts(task: Task, examples: Sequence[Example], tokenizer: Tokenizer) -> list[list[int]]:
    """Prompt ids as the environments give them, with one tokenizer call per distinct frame."""
    pieces = [prompt_pieces(task, example) for example in examples]
    prompts: list[list[int]] = [[] for _ in pieces]
    for before, after in dict.fromkeys((before, after) for before, _, after in pieces):
        rows = [row for row, piece in enumerate(pieces) if (piece[0], piece[2]) == (before, after)]
        bodies = [pieces[row][1] for row in rows]
        encoded = tokenizer.encode_prompts(before, bodies, after, task.max_prompt_tokens)
        for row, (ids, _) in zip(rows, encoded, strict=True):
            prompts[row] = ids
    return prompts


def response_loss(
    model: LanguageModel, pairs: Sequence[TokenPair], prompt_share: float = 0.0, rng: np.random.Generator | None = None
) -> Tensor:
    """Mean cross-entropy of the responses (and of a random share of the prompt tokens), a scalar in nats per token.

    Args:
        model: The language model.
        pairs: The batch.
        prompt_share: Share of the prompt tokens that count too.
        rng: Chooses them.
    """
    ids, lengths = pad_rows([pair.prompt + pair.response for pair in pairs], model.fill_id, model.device)
    prompt_lengths = torch.tensor([len(pair.prompt) for pair in pairs], device=ids.device)[:, None]
    target = torch.arange(1, ids.shape[1], device=ids.device)[None]  # position of the predicted token
    counted = target >= prompt_lengths  # (B, T-1)
    if prompt_share and rng is not None:
        counted = counted | torch.from_numpy(rng.random(counted.shape) < prompt_share).to(ids.device)
    rows, columns = (counted & (target < lengths[:, None])).nonzero(as_tuple=True)
    logits = model.logits(model.hidden(ids)[rows, columns])  # (N, V)
    return F.cross_entropy(logits, ids[rows, columns + 1])


def supervised_fine_tune(
    model: LanguageModel,
    pairs: Sequence[TokenPair],
    *,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    warmup: float = 0.05,
    prompt_share: float = 0.0,
    max_grad_norm: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, float], object] | None = None,
) -> list[float]:
    """Minimise the cross-entropy of the responses with AdamW, linear warm-up and cosine decay.

    Args:
        model: Trained in place.
        pairs: Texts to imitate.
        steps: Optimizer steps.
        batch_size: Texts per step.
        learning_rate: Peak learning rate.
        warmup: Share of the steps with a rising learning rate.
        prompt_share: See :func:`response_loss`.
        max_grad_norm: The gradient norm is clipped here.
        seed: Order of the texts.
        progress: Called with (step, loss) after every step.

    Returns:
        Loss of every step, in nats per token.

    Raises:
        FloatingPointError: If the loss is no longer finite.
        ModelError: If a text is longer than the context of the model (:func:`encode_pairs` fits them), or all weights
            are frozen.
    """
    model.require_trainable()
    model.hold_masters()
    model.require_context(max(len(pair.prompt) + len(pair.response) for pair in pairs), "the longest text to imitate")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps, warmup))
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    for step, batch in zip(range(steps), _batches(pairs, batch_size, rng), strict=False):
        loss = response_loss(model, batch, prompt_share, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"expected a finite loss, got {losses[-1]} at step {step}; lower the learning rate"
            )
        if progress is not None:
            progress(step, losses[-1])
    return losses


def _warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    rising = max(1, int(steps * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor


def _batches(pairs: Sequence[TokenPair], size: int, rng: np.random.Generator) -> Iterator[list[TokenPair]]:
    """Endless batches of texts of similar length, in random order."""
    while True:
        order = rng.permutation(len(pairs))
        for pool in np.array_split(order, math.ceil(len(order) / (_POOL * size))):
            by_length = sorted(pool, key=lambda i: len(pairs[i].prompt) + len(pairs[i].response))
            batches = np.array_split(np.array(by_length), math.ceil(len(pool) / size))
            for k in rng.permutation(len(batches)):
                yield [pairs[i] for i in batches[k]]
