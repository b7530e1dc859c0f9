"""Fitting a scalar head and its trunk to answers of every kind."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import Parameter

from textgym.errors import CheckpointError, RewardError
from textgym.models.optimizer_state import describe_optimizer, optimizer_tensors, part, restore_optimizer
from textgym.naming import argument
from textgym.reward_models.encoding import EncodedText, batches_of_like_length
from textgym.reward_models.evidence import Observation
from textgym.reward_models.likelihood import AnswerLikelihood, Answers
from textgym.reward_models.losses import learning_rate_share
from textgym.reward_models.reliability import RunningReliability
from textgym.reward_models.scoring import Precision, ResponseScorer
from textgym.types import JsonObject

Progress = Callable[[int, int, float], None]
"""``progress(step, total_steps, loss)``, called after every optimizer step; steps count from 1."""

_ANSWER_LEARNING_RATE = 0.05
_SAMPLE = 64


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of training: arguments of :meth:`~textgym.reward_models.preference.PreferenceRewardModel.learn`."""

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
            known = " or ".join(map(repr, get_args(Precision)))
            raise ValueError(f"expected {argument('precision')} {known}, got {self.precision!r}; choose one")


class Training(NamedTuple):
    """The record of a training.

    Attributes:
        losses, gradient_norms: Values of every optimizer step.
        steps_per_epoch: Number of steps that saw every answer once.
        reliability, severity: Values by annotator (:class:`~textgym.reward_models.likelihood.AnswerLikelihood`).
    """

    losses: list[float]
    gradient_norms: list[float]
    steps_per_epoch: int
    reliability: dict[str, float]
    severity: dict[str, float]


class Checkpoints(Protocol):
    """The place of a fit's checkpoints, so that an interrupted fit continues where it was."""

    def part(self, name: str) -> Checkpoints:
        """Return the place of one of several fits."""

    def restore(self, take: Callable[[dict[str, Tensor], JsonObject, Path], object]) -> bool:
        """Call ``take(tensors, record, folder)`` with the newest state that can be used, if there is one."""

    def save_if_due(self, step: int, steps: int, state: Callable[[], tuple[Mapping[str, Tensor], JsonObject]]) -> None:
        """Keep ``state()``, tensors by name and JSON, if it is time."""


def train_scorer(
    model: ResponseScorer,
    observations: Sequence[Observation],
    texts: Sequence[Sequence[EncodedText]],
    settings: FitSettings,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Minimise the negative log-likelihood with AdamW, linear warm-up and decay, and clipped gradients.

    Args:
        model: Trained in place.
        observations: ``n`` answers.
        texts: The encoded texts of each.
        settings: How to train.
        progress: Called after every step.
        checkpoints: Where to go on from, bit for bit, and where to keep what is done; without, nothing is kept.

    Raises:
        RewardError: If a loss or a gradient is not finite; the weights are those of the step before.
    """
    training = _ScorerTraining(model, observations, texts, settings)
    if checkpoints is not None:
        checkpoints.restore(training.restore)
    while training.step < training.steps:
        loss = training.advance()
        if checkpoints is not None:
            checkpoints.save_if_due(training.step, training.steps, training.state)
        if progress is not None:
            progress(training.step, training.steps, loss)
    return training.outcome()


class _ScorerTraining:
    """One fit, step by step; arguments as for :func:`train_scorer`."""

    def __init__(
        self,
        model: ResponseScorer,
        observations: Sequence[Observation],
        texts: Sequence[Sequence[EncodedText]],
        settings: FitSettings,
    ) -> None:
        self._model, self._observations, self._texts, self._settings = model, observations, texts, settings
        self._likelihood = AnswerLikelihood(observations, _centre(model, texts)).to(model.trunk.device)
        self._trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._optimizer = _optimizer(list(self._trained.values()), self._likelihood, settings)
        self._running = RunningReliability(len(self._likelihood.annotators), len(observations) // 2)
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._batches = _plan(texts, settings)

    @property
    def step(self) -> int:
        """Steps made so far."""
        return len(self._losses)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self._batches)

    def advance(self) -> float:
        """Make one step; returns its loss, in nats per answer."""
        texts, likelihood = self._texts, self._likelihood
        share = learning_rate_share(self.step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["peak"]
        batch = sorted(self._batches[self.step], key=lambda i: len(texts[i]) != 2)  # as `score_groups` orders them
        scores = self._model.score_groups([texts[i] for i in batch], self._settings.precision)  # (T,)
        answers = likelihood.collate([self._observations[i] for i in batch], _numbered([texts[i] for i in batch]))
        loss = likelihood(scores, answers).mean()
        self._optimizer.zero_grad()
        (loss + likelihood.penalty() / len(self._observations)).backward()
        norm = torch.nn.utils.clip_grad_norm_(self._trained.values(), self._settings.max_grad_norm)
        _check_finite(loss, _norm(self._optimizer), self.step, self._settings)
        self._optimizer.step()
        _update_reliability(likelihood, self._running, scores, answers)
        self._losses.append(loss.item())
        self._norms.append(norm.item())
        return self._losses[-1]

    def outcome(self) -> Training:
        """Return the record of the training, after the last step."""
        likelihood = self._likelihood
        steps_per_epoch = self.steps // self._settings.epochs
        return Training(self._losses, self._norms, steps_per_epoch, likelihood.reliability, likelihood.severity)

    def state(self) -> tuple[dict[str, Tensor], JsonObject]:
        """Return what :meth:`restore` needs: tensors by name, and JSON."""
        tensors = {f"model.{name}": each.detach().contiguous() for name, each in self._trained.items()}
        tensors |= {f"likelihood.{name}": each.contiguous() for name, each in self._likelihood.state_dict().items()}
        tensors |= {f"optimizer.{name}": each for name, each in optimizer_tensors(self._optimizer).items()}
        return tensors, {
            "losses": self._losses,
            "gradient_norms": self._norms,
            "seen": self._running.seen,
            "optimizer": describe_optimizer(self._optimizer),
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], record: JsonObject, folder: Path) -> None:
        """Go on where :meth:`state` was called on a fit with the same arguments.

        Raises:
            CheckpointError: It was another fit.
        """
        weights = part(tensors, "model.")
        shapes = {name: tuple(each.shape) for name, each in self._trained.items()}
        if {name: tuple(each.shape) for name, each in weights.items()} != shapes or len(record["losses"]) > self.steps:
            raise CheckpointError(f"expected the state of this fit in {folder}, got another one; start a new run")
        for name, parameter in self._trained.items():
            parameter.copy_(weights[name])
        self._likelihood.load_state_dict(part(tensors, "likelihood."))
        restore_optimizer(self._optimizer, part(tensors, "optimizer."), record["optimizer"])
        self._running.restore(record["seen"])
        self._losses, self._norms = list(map(float, record["losses"])), list(map(float, record["gradient_norms"]))


@torch.no_grad()
def _update_reliability(
    likelihood: AnswerLikelihood, running: RunningReliability, scores: Tensor, answers: Answers
) -> None:
    if likelihood.log_odds is not None:
        losses, log_guess = likelihood.losses_and_guesses(scores, answers)
        likelihood.log_odds.copy_(running.update(losses, log_guess, answers.annotators))


def _optimizer(trained: list[Parameter], likelihood: AnswerLikelihood, settings: FitSettings) -> torch.optim.AdamW:
    """AdamW; the few numbers about answering move faster than the network, and have a prior instead of decay."""
    learned = [parameter for name, parameter in likelihood.named_parameters() if name != "log_odds"]
    about_answers = {"params": learned, "peak": _ANSWER_LEARNING_RATE, "weight_decay": 0.0}
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
            f"lower {argument('learning_rate')}, which is {settings.learning_rate:g}, or use "
            f"{argument('precision', 'fp32')}"
        )
