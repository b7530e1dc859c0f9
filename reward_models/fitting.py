"""Fitting a scalar head and its trunk to answers of every kind."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import Parameter

from textgym.errors import RewardError, did_you_mean
from textgym.reward_models.encoding import EncodedText, batches_of_like_length
from textgym.reward_models.evidence import Observation
from textgym.reward_models.likelihood import AnswerLikelihood, Answers
from textgym.reward_models.losses import learning_rate_share
from textgym.reward_models.reliability import RunningReliability
from textgym.reward_models.scoring import Precision, ResponseScorer

Progress = Callable[[int, int, float], None]
"""``progress(step, total_steps, loss)``, called after every optimiser step; steps count from 1."""

_ANSWER_LEARNING_RATE = 0.05
_SAMPLE = 64


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to train; the fields are the arguments of `PreferenceRewardModel.fit`."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    seed: int
    precision: Precision

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"expected epochs and batch_size of at least 1 and a learning rate above 0, got {self.epochs}, "
                f"{self.batch_size} and {self.learning_rate}; correct them"
            )
        if not self.weight_decay >= 0 or not self.max_grad_norm > 0:
            raise ValueError(
                f"expected weight_decay of at least 0 and max_grad_norm above 0, got {self.weight_decay} and "
                f"{self.max_grad_norm}; raise them"
            )
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"expected precision {' or '.join(map(repr, get_args(Precision)))}, got {self.precision!r}."
                f"{did_you_mean(self.precision, get_args(Precision))}"
            )


class Training(NamedTuple):
    """What happened while training.

    Attributes:
        losses, gradient_norms: Of every optimiser step.
        steps_per_epoch: Number of steps that saw every answer once.
        reliability, severity: Of the annotators, by name (`AnswerLikelihood`).
    """

    losses: list[float]
    gradient_norms: list[float]
    steps_per_epoch: int
    reliability: dict[str, float]
    severity: dict[str, float]


def train_scorer(
    model: ResponseScorer,
    observations: Sequence[Observation],
    texts: Sequence[Sequence[EncodedText]],
    settings: FitSettings,
    progress: Progress | None = None,
) -> Training:
    """Minimise the negative log-likelihood with AdamW, linear warm-up and decay, and clipped gradients.

    Args:
        model: Trained in place.
        observations: ``n`` answers.
        texts: The encoded texts of each.
        settings: How to train.
        progress: Called after every step.

    Raises:
        RewardError: If a loss or a gradient is not finite; the weights are those of the step before.
    """
    likelihood = AnswerLikelihood(observations, _centre(model, texts)).to(model.trunk.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = _optimizer(trained, likelihood, settings)
    running = RunningReliability(len(likelihood.annotators), len(observations) // 2)
    losses, norms = [], []
    batches = _plan(texts, settings)
    with model.precision(settings.precision):
        for step, batch in enumerate(batches):
            share = learning_rate_share(step, len(batches))
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            batch = sorted(batch, key=lambda i: len(texts[i]) != 2)  # as `score_groups` orders them
            scores = model.score_groups([texts[i] for i in batch])  # (T,)
            answers = likelihood.collate([observations[i] for i in batch], _numbered([texts[i] for i in batch]))
            loss = likelihood(scores, answers).mean()
            optimizer.zero_grad()
            (loss + likelihood.penalty() / len(observations)).backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
            _check_finite(loss, _norm(optimizer), step, settings)
            optimizer.step()
            _update_reliability(likelihood, running, scores, answers)
            losses.append(loss.item())
            norms.append(norm.item())
            if progress is not None:
                progress(step + 1, len(batches), losses[-1])
    steps = len(losses) // settings.epochs
    return Training(losses, norms, steps, likelihood.reliability, likelihood.severity)


@torch.no_grad()
def _update_reliability(
    likelihood: AnswerLikelihood, running: RunningReliability, scores: Tensor, answers: Answers
) -> None:
    if likelihood.log_odds is not None:
        losses, log_guess = likelihood.judged(scores, answers)
        likelihood.log_odds.copy_(running.update(losses, log_guess, answers.annotators))


def _optimizer(trained: list[Parameter], likelihood: AnswerLikelihood, settings: FitSettings) -> torch.optim.AdamW:
    """AdamW; the few numbers about answering move faster than the network, and have a prior instead of decay."""
    learnt = [parameter for name, parameter in likelihood.named_parameters() if name != "log_odds"]
    about_answers = {"params": learnt, "peak": _ANSWER_LEARNING_RATE, "weight_decay": 0.0}
    groups = [{"params": trained, "peak": settings.learning_rate}, about_answers]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, eps=1e-5, weight_decay=settings.weight_decay, fused=_can_fuse(trained)
    )


def _plan(texts: Sequence[Sequence[EncodedText]], settings: FitSettings) -> list[list[int]]:
    """Batches of indices of all epochs."""
    generator = torch.Generator().manual_seed(settings.seed)
    lengths = [len(group[0].prompt) + sum(len(text.response) for text in group) for group in texts]
    epochs = range(settings.epochs)
    return [batch for _ in epochs for batch in batches_of_like_length(lengths, settings.batch_size, generator)]


def _centre(model: ResponseScorer, texts: Sequence[Sequence[EncodedText]]) -> float:
    """Mean score of a few texts before training."""
    return float(model.raw_scores([group[0] for group in texts[:_SAMPLE]]).mean())


def _numbered(groups: Sequence[Sequence[object]]) -> list[list[int]]:
    """Numbers of the members of consecutive groups."""
    counter = itertools.count()
    return [[next(counter) for _ in group] for group in groups]


def _can_fuse(parameters: Sequence[Tensor]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def _norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Norm of all gradients that a step would follow, those of the annotators' numbers included."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])


def _check_finite(loss: Tensor, norm: Tensor, step: int, settings: FitSettings) -> None:
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise RewardError(
            f"expected a finite loss and gradient, got {loss.item()} and {norm.item()} at step {step + 1}; "
            f"lower the learning rate (it is {settings.learning_rate}) or use precision='fp32'"
        )
