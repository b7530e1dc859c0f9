"""Fitting a scalar head and its trunk to comparisons."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from textgym.errors import DataError, RewardError, did_you_mean
from textgym.reward_models.calibration import Calibration
from textgym.reward_models.encoding import batches_of_like_length
from textgym.reward_models.losses import bradley_terry_loss, learning_rate_share
from textgym.reward_models.scoring import Pair, Precision, ResponseScorer
from textgym.types import Comparison, FloatArray, Interval

Progress = Callable[[int, int, float], None]
"""``progress(step, total_steps, loss)``, called after every optimiser step; steps count from 1."""

_LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}


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


@dataclass(frozen=True, slots=True)
class FitReport:
    """What came of a fit.

    Attributes:
        accuracy: Share of held-out choices predicted, with its 95 % interval; ``(0.5, 0, 1)`` if nothing was held out.
        train_loss: Mean loss over the last epoch, each batch measured before its own step (log 2 = 0.693 is chance).
        calibration: From held-out pairs; ``None`` if nothing was held out.
        pairs: Number of comparisons trained on.
        held_out_pairs: Number of comparisons held out, ties included.
        seconds: Wall time of the whole fit.
        losses: Loss of every step; not saved with the model.
        gradient_norms: Gradient norm of every step before clipping; not saved with the model.
    """

    accuracy: Interval
    train_loss: float
    calibration: Calibration | None
    pairs: int
    held_out_pairs: int
    seconds: float
    losses: tuple[float, ...] = ()
    gradient_norms: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FitReport:
        """Read what ``dataclasses.asdict`` wrote, with or without the per-step lists.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(
            accuracy=Interval(*map(float, data["accuracy"])),
            train_loss=float(data["train_loss"]),
            calibration=Calibration.from_json(data["calibration"]) if data["calibration"] is not None else None,
            pairs=int(data["pairs"]),
            held_out_pairs=int(data["held_out_pairs"]),
            seconds=float(data["seconds"]),
        )


def usable_comparisons(records: Sequence[Comparison]) -> list[Comparison]:
    """Leave out comparisons of a text with itself, aloud; refuse records that teach nothing.

    Raises:
        DataError: If there are no records, all compare a text with itself, or all are ties.
    """
    if not records:
        raise DataError("expected comparisons to learn from, got none; collect some first")
    kept = [record for record in records if record.response_a.strip() != record.response_b.strip()]
    if not kept:
        raise DataError(
            f"expected comparisons of two different texts, got {len(records)} of a text with itself; compare others"
        )
    if len(kept) < len(records):
        warnings.warn(f"left out {len(records) - len(kept)} comparisons of a text with itself", stacklevel=3)
    if all(record.choice == "tie" for record in kept):
        raise DataError(f"expected at least one preference, got {len(kept)} ties; ties alone teach nothing")
    return kept


def check_split(train: Sequence[Comparison], held_out: Sequence[Comparison], validation_fraction: float) -> None:
    """Refuse a split that cannot be trained on or judged by.

    Raises:
        DataError: If something was to be held out but nothing could be, or only ties are left to train on.
    """
    if validation_fraction > 0 and not held_out:
        raise DataError(
            f"expected comparisons of at least two prompts, so that one can be held out, got {len(train)} of one; "
            "collect more, or pass validation_fraction=0 and learn nothing about the accuracy"
        )
    if all(record.choice == "tie" for record in train):
        raise DataError(
            f"expected a preference among the {len(train)} comparisons left for training, got ties only; collect more, "
            "or pass another seed or a smaller validation_fraction"
        )


def labels_of(records: Sequence[Comparison]) -> FloatArray:
    """Preference for response a: 1, 0, or 0.5 for a tie; shape ``(n,)``."""
    return np.array([_LABELS[record.choice] for record in records])


def train_on_pairs(
    model: ResponseScorer,
    pairs: Sequence[Pair],
    labels: FloatArray,
    settings: FitSettings,
    progress: Progress | None = None,
) -> tuple[list[float], list[float]]:
    """Minimise the Bradley-Terry loss with AdamW, linear warm-up and decay, and clipped gradients.

    Args:
        model: Trained in place.
        pairs: ``n`` encoded pairs.
        labels: Preference for a in ``[0, 1]``, shape ``(n,)``.
        settings: How to train.
        progress: Called after every step.

    Returns:
        Losses and gradient norms, one of each per step.

    Raises:
        RewardError: If a loss or a gradient is not finite; the weights are those of the step before.
    """
    batches = _plan(pairs, settings)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    targets = torch.as_tensor(labels, dtype=torch.float32, device=model.trunk.device)
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, eps=1e-5, weight_decay=settings.weight_decay, fused=_can_fuse(trained)
    )
    losses, norms = [], []
    with model.precision(settings.precision):
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * learning_rate_share(step, len(batches))
            scores = model.score_pairs([pairs[i] for i in batch])  # (B, 2)
            loss = bradley_terry_loss(scores[:, 0], scores[:, 1], targets[batch])
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
            _check_finite(loss, norm, step, settings)
            optimizer.step()
            losses.append(loss.item())
            norms.append(norm.item())
            if progress is not None:
                progress(step + 1, len(batches), losses[-1])
    return losses, norms


def _plan(pairs: Sequence[Pair], settings: FitSettings) -> list[list[int]]:
    """Batches of indices of all epochs."""
    generator = torch.Generator().manual_seed(settings.seed)
    lengths = [len(a.prompt) + len(a.response) + len(b.response) for a, b in pairs]
    epochs = range(settings.epochs)
    return [batch for _ in epochs for batch in batches_of_like_length(lengths, settings.batch_size, generator)]


def _can_fuse(parameters: Sequence[Tensor]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def _check_finite(loss: Tensor, norm: Tensor, step: int, settings: FitSettings) -> None:
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise RewardError(
            f"expected a finite loss and gradient, got {loss.item()} and {norm.item()} at step {step + 1}; "
            f"lower the learning rate (it is {settings.learning_rate}) or use precision='fp32'"
        )
