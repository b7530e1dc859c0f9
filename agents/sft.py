"""Supervised fine-tuning: a language model imitates given responses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textgym.agents.common.health import clip_gradients, require_finite
from textgym.errors import DataError
from textgym.models.causal_lm import CausalLM
from textgym.models.checkpoint import load_unique, unique_tensors
from textgym.models.decoding.generation import pad_rows
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.tasks.base import prompt_of
from textgym.text.batching import length_batches
from textgym.text.tokenizer import Tokenizer
from textgym.types import Dataset, FloatArray, Prompt, Task

_POOL = 64  # batches whose texts are sorted by length together, so that little padding is computed


class TokenPair(NamedTuple):
    """A prompt and the response to imitate, as ids; the response ends with EOS, or as the chat template ends it."""

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
    tokenizer.require_eos()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    examples = [dataset[i] for i in range(count)]
    asked = [prompt_of(task, example) for example in examples]
    prompts = [prompt.ids for prompt in tokenizer.encode_prompts(asked, task.max_prompt_tokens)]
    pairs, too_long = [], 0
    for example, prompt, ids in zip(examples, asked, prompts, strict=True):
        for text in example.demonstrations or example.references:
            response = [*tokenizer.encode_response(text), *tokenizer.response_end]
            fitting = _fit_prompt(prompt, tokenizer, ids, (context_length or math.inf) - len(response))
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


def _fit_prompt(prompt: Prompt, tokenizer: Tokenizer, ids: list[int], room: float) -> list[int] | None:
    """Return the prompt in at most ``room`` tokens; ``None`` if what stands around the document is longer already."""
    if len(ids) <= room:
        return ids
    if room < 1:
        return None
    try:
        return tokenizer.encode_prompts([prompt], int(room))[0].ids
    except ValueError:
        return None


def response_loss(
    model: CausalLM, pairs: Sequence[TokenPair], prompt_share: float = 0.0, rng: np.random.Generator | None = None
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
        counted = counted | torch.from_numpy(_draw(pairs, rng) < prompt_share).to(ids.device)
    rows, columns = (counted & (target < lengths[:, None])).nonzero(as_tuple=True)
    logits = model.logits(model.hidden(ids)[rows, columns])  # (N, V)
    return F.cross_entropy(logits, ids[rows, columns + 1])


def supervised_fine_tune(
    model: CausalLM,
    pairs: Sequence[TokenPair],
    *,
    steps: int,
    progress: Callable[[int, float], object] | None = None,
    **settings: Any,
) -> list[float]:
    """Minimise the cross-entropy of the responses; all of :class:`SupervisedTraining` in one call.

    Args:
        model: Trained in place.
        pairs: Texts to imitate.
        steps: Optimizer steps.
        progress: Called with (step, loss) after every step.
        settings: Further arguments of :class:`SupervisedTraining`.

    Returns:
        Loss of every step, in nats per token.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite; the weights are those of the step before.
        ModelError: If a text is longer than the context of the model; :func:`encode_pairs` fits them.
    """
    training = SupervisedTraining(model, pairs, steps=steps, **settings)
    while training.step < steps:
        loss = training.advance()
        if progress is not None:
            progress(training.step - 1, loss)
    return training.losses


class SupervisedTraining:
    """AdamW on the cross-entropy of the responses, with linear warm-up and cosine decay, step by step.

    Args:
        model: Trained in place.
        pairs: Texts to imitate.
        steps: Optimizer steps in all.
        batch_size: Texts per step.
        learning_rate: Peak learning rate.
        warmup: Share of the steps with a rising learning rate.
        prompt_share: See :func:`response_loss`.
        max_grad_norm: The gradient norm is clipped here.
        seed: Order of the texts.

    Attributes:
        losses: Of the steps so far, in nats per token.

    Raises:
        ModelError: If a text is longer than the context of the model (:func:`encode_pairs` fits them), or all weights
            are frozen.
    """

    def __init__(
        self,
        model: CausalLM,
        pairs: Sequence[TokenPair],
        *,
        steps: int,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        warmup: float = 0.05,
        prompt_share: float = 0.0,
        max_grad_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        model.require_trainable()
        model.hold_masters()
        longest = max(len(pair.prompt) + len(pair.response) for pair in pairs)
        model.require_context(longest, "the longest text to imitate")
        self.losses: list[float] = []
        self._model, self._prompt_share, self._max_grad_norm = model, prompt_share, max_grad_norm
        self._learning_rate, self._share = learning_rate, _warmup_cosine(steps, warmup)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self._rng = np.random.default_rng(seed)
        self._batches = _batches(pairs, batch_size, self._rng)

    @property
    def step(self) -> int:
        """Steps made so far."""
        return len(self.losses)

    def advance(self) -> float:
        """Make one step.

        Returns:
            Its loss, in nats per token.

        Raises:
            FloatingPointError: If the loss or a gradient is not finite; the weights stay as they are.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * self._share(self.step)
        loss = response_loss(self._model, next(self._batches), self._prompt_share, self._rng)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        require_finite(f"loss at step {self.step}", loss.item())
        clip_gradients(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        self.losses.append(loss.item())
        return self.losses[-1]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what :meth:`restore` needs, as named tensors and JSON."""
        tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(self._model.state_dict()).items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self._optimizer).items()}
        return tensors, {"losses": self.losses, "optimizer": describe_optimizer(self._optimizer)}

    def restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any], folder: Path) -> None:
        """Go on, bit for bit, where :meth:`state` was called on training with the same arguments.

        Args:
            tensors, record: What it returned.
            folder: Where they come from, for errors.

        Raises:
            CheckpointError: They are of another model or optimizer.
        """
        load_unique(self._model, part(tensors, "model."), folder)
        restore_optimizer(self._optimizer, part(tensors, "optimizer."), record["optimizer"])
        while self.step < len(record["losses"]):  # the generator draws what it drew for the steps that were made
            batch = next(self._batches)
            if self._prompt_share:
                _draw(batch, self._rng)
            self.losses.append(float(record["losses"][self.step]))


def _draw(pairs: Sequence[TokenPair], rng: np.random.Generator) -> FloatArray:
    """A number in [0, 1) for every predicted token of the padded batch, (B, T-1)."""
    return rng.random((len(pairs), max(len(pair.prompt) + len(pair.response) for pair in pairs) - 1))


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
            chosen = [pairs[i] for i in pool]
            lengths = [len(pair.prompt) + len(pair.response) for pair in chosen]
            batches = length_batches(lengths, max_rows=size, longest_first=False, even=True)
            for k in rng.permutation(len(batches)):
                yield [chosen[i] for i in batches[k]]
