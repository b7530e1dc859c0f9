"""A reward learnt from comparisons."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from textgym.errors import CheckpointError, DataError, RewardError
from textgym.feedback.comparisons import split_comparisons
from textgym.models.language_model import LanguageModel, load_language_model
from textgym.reward_models import storage
from textgym.reward_models.calibration import calibrate, pairwise_accuracy, sigmoid
from textgym.reward_models.encoding import TextEncoder
from textgym.reward_models.fitting import (
    FitReport,
    FitSettings,
    Progress,
    check_split,
    labels_of,
    train_on_pairs,
    usable_comparisons,
)
from textgym.reward_models.scoring import Pair, Precision, ResponseScorer
from textgym.rewards import Scores
from textgym.types import Comparison, Example, FloatArray, Task

KIND = "preference"
_HEAD = "head.safetensors"
_MIN_LENGTH = 16


class Normalisation(NamedTuple):
    """Mean and standard deviation of the raw scores of reference responses."""

    mean: float = 0.0
    std: float = 1.0


class PreferenceRewardModel(ResponseScorer):
    """A language model with a scalar head, fitted to comparisons of texts (a `RewardFn`).

    It reads prompt + response + EOS with the trunk's own tokenizer; `TextEncoder` says how long texts are cut. The head
    reads the EOS, and the likelihood of the response is added with a learned weight (`ResponseScorer`). Scores are
    shifted and scaled so that reference responses have mean 0 and standard deviation 1 (after `normalise`). Being an
    ``nn.Module``, it moves with ``.to("cuda")``.

        reward = PreferenceRewardModel("tiny")
        report = reward.fit(comparisons)
        reward.normalise(prompts, references)
        scores = reward(prompts, responses)

    Args:
        model: Trunk to start from: ``"tiny"``, a folder, a Hub id, or a loaded model.
        max_length: Most ids of prompt + response + EOS.

    Attributes:
        normalisation: Mean 0 and standard deviation 1 until `normalise` is called.
        report: What came of the last fit, or ``None``.

    Raises:
        ValueError: If ``max_length`` is below 16 or above the trunk's context.
        ModelError: If the trunk's tokenizer has no EOS.

    References:
        Stiennon et al. (2020), arXiv:2009.01325; Ouyang et al. (2022), arXiv:2203.02155.
    """

    name = "learned"

    def __init__(self, model: str | Path | PreTrainedModel | LanguageModel = "tiny", *, max_length: int = 512) -> None:
        super().__init__(load_language_model(model))
        if not _MIN_LENGTH <= max_length <= self.context:
            raise ValueError(
                f"expected max_length between {_MIN_LENGTH} and {self.context}, the context of the trunk, "
                f"got {max_length}; pass max_length={min(self.context, max(max_length, _MIN_LENGTH))}"
            )
        self.encoder = TextEncoder(self.trunk.tokenizer, max_length)
        self.normalisation = Normalisation()
        self.report: FitReport | None = None

    def forward(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example] = ()) -> FloatArray:
        """Normalised scores of ``n`` responses; no gradients.

        Args:
            prompts: ``n`` formatted, uncut prompt texts.
            responses: ``n`` texts.
            examples: Not looked at.

        Returns:
            Scores, shape ``(n,)``, float64.

        Raises:
            ValueError: If the lengths differ.
            RewardError: If a score is not finite.
        """
        return self.score(prompts, responses, examples).total

    def bind(self, task: Task | None) -> PreferenceRewardModel:
        """Return itself: a reward model needs no task."""
        return self

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example] = ()) -> Scores:
        """Scores of ``n`` responses with two parts, so that both are logged: ``learned`` and ``learned_raw``."""
        raw = self.raw(prompts, responses)
        normalised = (raw - self.normalisation.mean) / self.normalisation.std
        return Scores(normalised, {self.name: normalised, f"{self.name}_raw": raw})

    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """Scores before normalisation; arguments, return value and errors as in `forward`."""
        scores = self.raw_scores(self.encoder(prompts, responses))
        if not np.isfinite(scores).all():
            worst = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise RewardError(
                f"expected finite scores from the reward {self.name!r}, got {scores[worst]} for the response "
                f"{responses[worst][:80]!r}; fit again with a lower learning rate"
            )
        return scores

    def preference_probability(
        self, prompts: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]
    ) -> FloatArray:
        """Calibrated probability that each response a is preferred to response b, shape ``(n,)``."""
        calibration = self.report.calibration if self.report else None
        temperature = calibration.temperature if calibration else 1.0
        return sigmoid((self.raw(prompts, responses_a) - self.raw(prompts, responses_b)) / temperature)

    def fit(
        self,
        records: Sequence[Comparison],
        *,
        epochs: int = 1,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        validation_fraction: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        seed: int = 0,
        precision: Precision = "auto",
        progress: Progress | None = None,
    ) -> FitReport:
        """Learn from comparisons, all weights at once; the normalisation starts anew.

        Args:
            records: Choices and ties. Comparisons of a text with itself are left out with a warning.
            epochs: Passes over the records.
            batch_size: Comparisons per step; both texts of one are in the same step.
            learning_rate: Peak of AdamW's learning rate (10 % linear warm-up, then linear decay to 0).
            validation_fraction: Share of the *prompts* held out to measure accuracy and to calibrate.
            weight_decay: Of AdamW.
            max_grad_norm: Gradients are clipped to this norm.
            seed: Decides split and order; the same seed gives the same model on the same CPU.
            precision: ``"auto"`` (bf16 autocast on GPUs that have it), ``"fp32"`` or ``"bf16"``.
            progress: Called as ``progress(step, total_steps, loss)``.

        Returns:
            The report, also kept as `report`.

        Raises:
            DataError: If the records teach nothing, or are all about one prompt.
            RewardError: If the loss becomes infinite or NaN.
            ValueError: If a setting is out of range.
        """
        start = time.perf_counter()
        settings = FitSettings(epochs, batch_size, learning_rate, weight_decay, max_grad_norm, seed, precision)
        train, held_out = split_comparisons(usable_comparisons(records), validation_fraction, seed)
        check_split(train, held_out, validation_fraction)
        pairs = self._encode(train)
        self.try_sharing(pairs)
        losses, norms = train_on_pairs(self, pairs, labels_of(train), settings, progress)
        differences = self.differences(held_out)
        last_epoch = losses[-(len(losses) // epochs) :]
        self.normalisation = Normalisation()
        self.report = FitReport(
            accuracy=pairwise_accuracy(differences, labels_of(held_out)),
            train_loss=float(np.mean(last_epoch)),
            calibration=calibrate(differences, labels_of(held_out)),
            pairs=len(train),
            held_out_pairs=len(held_out),
            seconds=time.perf_counter() - start,
            losses=tuple(losses),
            gradient_norms=tuple(norms),
        )
        return self.report

    def differences(self, records: Sequence[Comparison]) -> FloatArray:
        """Raw score of response a minus raw score of response b, shape ``(n,)``."""
        prompts = [record.prompt for record in records] * 2
        responses = [record.response_a for record in records] + [record.response_b for record in records]
        scores = self.raw(prompts, responses)
        return scores[: len(records)] - scores[len(records) :]

    def normalise(self, prompts: Sequence[str], references: Sequence[str]) -> Normalisation:
        """Shift and scale scores so that these responses have mean 0 and standard deviation 1; stored with the model.

        Args:
            prompts: ``n`` formatted prompt texts.
            references: ``n`` responses that answer them well.

        Returns:
            Mean and standard deviation of their raw scores.

        Raises:
            DataError: If there are fewer than two responses, or all have one score.
        """
        scores = self.raw(prompts, references)
        if len(scores) < 2 or float(scores.std()) < 1e-12:
            raise DataError(
                f"expected at least two reference responses with different scores, got {len(scores)} with a spread of "
                f"{float(scores.std()) if len(scores) else 0.0}; fit the model first and give more references"
            )
        self.normalisation = Normalisation(float(scores.mean()), float(scores.std()))
        return self.normalisation

    def save(self, folder: str | Path, *, dtype: storage.Dtype = "float32") -> None:
        """Write a folder: a JSON card, the trunk in Hugging Face layout with its tokenizer, and the head.

        The folder appears under its name only when it is complete; an earlier reward model there is replaced.

        Args:
            folder: Where to; parents are made.
            dtype: Floating type of the trunk on disk (the head stays float32). Halves change scores slightly.

        Raises:
            CheckpointError: If the folder holds something else than a reward model, or a weight does not fit ``dtype``.
        """
        storage.write_folder(folder, partial(self._write, dtype=dtype))

    @classmethod
    def load(cls, folder: str | Path) -> PreferenceRewardModel:
        """Read a folder written by `save`; weights are float32 on the CPU.

        Raises:
            CheckpointError: If it is incomplete, damaged, or a reward model of another kind.
        """
        folder = Path(folder).expanduser()
        card = storage.read_card(folder)
        if card.get("kind") != KIND:
            raise CheckpointError(
                f"expected a reward model of kind {KIND!r} in {str(folder)!r}, got {card.get('kind')!r}; "
                "open it with the class that saved it"
            )
        try:
            model = cls(folder, max_length=_integer(card["max_length"]))
            model.normalisation = _read_normalisation(card["normalisation"])
            model.report = FitReport.from_json(card["report"]) if card["report"] is not None else None
            model._read_head(folder / _HEAD)
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"expected a complete reward model in {str(folder)!r}, got {type(error).__name__}: {error}; save again"
            ) from error
        return model

    def _write(self, folder: Path, dtype: storage.Dtype) -> None:
        self.trunk.save_pretrained(folder)
        if dtype != "float32":
            storage.convert_weights(folder, dtype)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._head_tensors().items()}
        save_file(tensors, folder / _HEAD)
        storage.write_card(folder, self._card(dtype))

    def _head_tensors(self) -> dict[str, Tensor]:
        """What is learnt besides the trunk."""
        return {"head.weight": self.head.weight, "likelihood_weight": self.likelihood_weight}

    def _read_head(self, file: Path) -> None:
        found, own = load_file(file), self._head_tensors()
        shapes, expected = ({name: tuple(tensor.shape) for name, tensor in side.items()} for side in (found, own))
        if shapes != expected:
            raise CheckpointError(f"expected the tensors {expected} in {str(file)!r}, got {shapes}; save again")
        if not all(torch.isfinite(tensor).all() for tensor in found.values()):
            raise CheckpointError(f"expected finite weights in {str(file)!r}, got others; fit and save again")
        self.load_state_dict(found, strict=False)  # the trunk has been read from its own file

    def _card(self, dtype: storage.Dtype) -> dict[str, Any]:
        report = asdict(self.report) if self.report else None
        for per_step in ("losses", "gradient_norms"):
            if report:
                del report[per_step]
        return {
            "kind": KIND,
            "format": 1,
            "max_length": self.encoder.max_length,
            "dtype": dtype,
            "normalisation": self.normalisation._asdict(),
            "report": report,
            "versions": storage.versions(),
        }

    def _encode(self, records: Sequence[Comparison]) -> list[Pair]:
        prompts = [record.prompt for record in records] * 2
        responses = [record.response_a for record in records] + [record.response_b for record in records]
        texts = self.encoder(prompts, responses)
        return list(zip(texts[: len(records)], texts[len(records) :], strict=True))


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number as max_length, got {value!r}")
    return value


def _read_normalisation(record: Mapping[str, Any]) -> Normalisation:
    """Read what ``Normalisation._asdict`` gave; anything else would make every score infinite or NaN."""
    normalisation = Normalisation(float(record["mean"]), float(record["std"]))
    if not math.isfinite(normalisation.mean) or not 0 < normalisation.std < math.inf:
        raise ValueError(f"expected a finite mean and a standard deviation above 0, got {normalisation}")
    return normalisation
