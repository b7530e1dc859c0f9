"""Log-probabilities of given tokens: the one path from texts to numbers, for training, references and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from textgym.models.batch import EpisodeBatch, pad_rows
from textgym.models.text_model import TextModel
from textgym.text.batching import length_batches
from textgym.types import FloatArray

_TOKENS_PER_BATCH = 16_384
_IN_CACHE = 2**18  # numbers that the processor keeps at hand between two operations


class Responses(NamedTuple):
    """Texts whose responses are scored.

    Attributes:
        batch: ``E`` texts with a transition for every token of their responses, text by text.
        actions: (N,) those tokens.
    """

    batch: EpisodeBatch
    actions: Tensor


def response_batch(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    also: Tensor | None = None,
) -> Responses:
    """Put prompts and responses, ids of ``E`` texts, into one batch on the model's device.

    Args:
        model: Model that will score the responses.
        prompts: Each at least one id long.
        responses: Ids.
        also: (E, T-1) whether token t + 1 counts as well, where it stands in a prompt; the padded texts have T tokens.
    """
    texts = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    input_ids, lengths = pad_rows(texts, model.fill_id, model.device)
    prompt_lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    target = torch.arange(1, input_ids.shape[1], device=model.device)[None]  # position of the predicted token
    counted = target >= prompt_lengths[:, None]  # (E, T-1)
    if also is not None:
        counted = counted | also
    rows, positions = (counted & (target < lengths[:, None])).nonzero(as_tuple=True)
    return Responses(EpisodeBatch(input_ids, prompt_lengths, rows, positions), input_ids[rows, positions + 1])


def token_log_probs(
    model: TextModel, batch: EpisodeBatch, actions: Tensor, logits: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Log-probabilities (N,) of the actions of a batch, in nats, with gradients.

    Args:
        model: Model that computes the states.
        batch: ``N`` transitions.
        actions: (N,) ids.
        logits: How logits (N, V) follow from states (N, H), where it is not ``model.logits``.
    """
    return log_probs_of((logits or model.logits)(model.hidden(batch)), actions)


def cross_entropy(model: TextModel, batch: EpisodeBatch, actions: Tensor) -> Tensor:
    """Mean of minus the log-probabilities of the actions of a batch, a scalar in nats per token, with gradients."""
    return functional.cross_entropy(model.logits(model.hidden(batch)), actions)


@torch.no_grad()
def response_log_probs(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    temperature: float = 1.0,
) -> FloatArray:
    """Log-probability of every response given its prompt, shape ``(n,)``, in nats.

    Args:
        model: Model that computes the probabilities.
        prompts: Ids, each at least one long.
        responses: Ids.
        temperature: Above 0; divides the logits.
    """
    totals = np.zeros(len(responses))
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    for rows in length_batches(lengths, _TOKENS_PER_BATCH):
        sizes = [len(responses[row]) for row in rows]
        if not any(sizes):
            continue
        batch, actions = response_batch(model, [prompts[row] for row in rows], [responses[row] for row in rows])
        # One text at a time: the logits of a whole batch may be larger than everything else.
        parts = zip(model.hidden(batch).split(sizes), actions.split(sizes), strict=True)
        totals[rows] = [float(log_probs_by_sum(model.logits(h) / temperature, ids).double().sum()) for h, ids in parts]
    return totals


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities (N,) of given ids (N,) under softmax(logits), (N, V)."""
    return -functional.cross_entropy(logits, actions, reduction="none")


def log_probs_by_sum(logits: Tensor, actions: Tensor) -> Tensor:
    """The same as :func:`log_probs_of` but for rounding: the logit minus the logarithm of the sum.

    Evaluation and learned rewards round this way, references and training the other one. A reward that differs in its
    last bit makes another run, so neither can take the other's place without changing figures that were published.
    """
    return logits.gather(1, actions[:, None])[:, 0] - logits.logsumexp(1)


class _LogProbEntropy(torch.autograd.Function):
    """log p(action) and entropy of softmax(logits) with one exponential in each direction.

    With p = softmax(x), l = log p(a), H = -sum p log p:  dl/dx = onehot(a) - p,  dH/dx = -p (log p + H).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        probs = logits.softmax(-1)  # (N, V)
        # The largest logit has probability 1 / sum(exp(x - largest)).
        log_normalizer = logits.amax(-1) - probs.amax(-1).log()  # (N,)
        log_probs = logits.gather(-1, actions[:, None])[:, 0] - log_normalizer
        entropy = log_normalizer - _mean_logits(probs, logits)
        ctx.save_for_backward(logits, log_normalizer, entropy, actions, probs)
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        grad_log_probs, grad_entropy = gradients
        logits, log_normalizer, entropy, actions, probs = ctx.saved_tensors
        slope = -grad_log_probs[:, None]
        # An entropy coefficient of 0 costs nothing, except on a GPU, where looking would cost more than computing.
        if grad_entropy.is_cuda or bool(grad_entropy.any()):
            log_probs = logits - log_normalizer[:, None]
            slope = slope - grad_entropy[:, None] * (log_probs + entropy[:, None])
        grad = probs * slope
        grad.scatter_add_(-1, actions[:, None], grad_log_probs[:, None])
        return grad, None


def _mean_logits(probs: Tensor, logits: Tensor) -> Tensor:
    """Sum of p x over the ids, (N,); on a CPU a few rows at a time, because storing all products takes longest."""
    if logits.is_cuda:
        return (probs * logits).sum(-1)
    rows = max(1, _IN_CACHE // logits.shape[-1])
    pairs = zip(probs.split(rows), logits.split(rows), strict=True)
    return torch.cat([(p * x).sum(-1) for p, x in pairs])


def log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of the drawn ids and entropy of the distributions, differentiable once.

    Args:
        logits: (N, V), fp32 or better, all finite (a forbidden action has a large negative one).
        actions: (N,) ids.

    Returns:
        Two tensors of shape (N,), in nats.
    """
    log_probs, entropy = _LogProbEntropy.apply(logits, actions)  # type: ignore[no-untyped-call]
    return log_probs, entropy
