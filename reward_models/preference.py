"""A language model as a reward, learned from feedback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from textgym.feedback.types import Record
from textgym.models.loading import load_language_model
from textgym.models.text_model import TextModel
from textgym.reward_models import storage
from textgym.reward_models.encoding import EncodedText, TextEncoder
from textgym.reward_models.evidence import Evidence, Observation, Split
from textgym.reward_models.fitting import Checkpoints, FitSettings, Progress, Training, train_scorer
from textgym.reward_models.learned import LearnedReward, resampled
from textgym.reward_models.report import FitReport
from textgym.reward_models.scoring import Precision, ResponseScorer
from textgym.types import FloatArray, Shown

KIND = "preference"
_HEAD = "head.safetensors"
_MIN_LENGTH = 16


class PreferenceRewardModel(ResponseScorer, LearnedReward):
    """A language model with a scalar head, fitted to feedback of any kind (a :class:`~textgym.types.RewardFn`).

    It reads prompt + response + EOS with the trunk's own tokenizer;
    :class:`~textgym.reward_models.encoding.TextEncoder` says how long texts are cut. The head reads the EOS, and the
    likelihood of the response is added with a learned weight (:class:`~textgym.reward_models.scoring.ResponseScorer`).
    Scores are shifted and scaled so that reference responses have mean 0 and standard deviation 1 (after
    :meth:`normalise`). Being an ``nn.Module``, it moves with ``.to("cuda")``.

        reward = PreferenceRewardModel("tiny")
        report = reward.fit(records)
        reward.normalise(prompts, references)
        scores = reward(prompts, responses)

    Args:
        model: Trunk to start from: ``"tiny"``, a folder, a Hub id, or a loaded model.
        max_length: Most ids of prompt + response + EOS.
        lora_rank: Train low-rank adapters of the trunk and leave its own weights as they are; :meth:`save` merges them.

    Attributes:
        normalisation: Mean 0 and standard deviation 1 until :meth:`normalise` is called.
        report: What came of the last fit, or ``None``.

    Raises:
        ValueError: If ``max_length`` is below 16 or above the trunk's context.
        ModelError: If the trunk's tokenizer has no EOS.
        MissingExtraError: If ``lora_rank`` is given and PEFT is not installed.

    References:
        Stiennon et al. (2020), arXiv:2009.01325; Ouyang et al. (2022), arXiv:2203.02155.
    """

    def __init__(
        self,
        model: str | Path | PreTrainedModel | TextModel = "tiny",
        *,
        max_length: int = 512,
        lora_rank: int | None = None,
    ) -> None:
        super().__init__(load_language_model(model))
        if not _MIN_LENGTH <= max_length <= self.context:
            raise ValueError(
                f"expected max_length between {_MIN_LENGTH} and {self.context}, the context of the trunk, "
                f"got {max_length}; pass max_length={min(self.context, max(max_length, _MIN_LENGTH))}"
            )
        self.encoder = TextEncoder(self.trunk.tokenizer, max_length)
        if lora_rank is not None:
            self.trunk.add_lora(lora_rank)

    def raw(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Scores before normalisation; arguments, return value and errors as in :meth:`forward`."""
        return self._checked(self.raw_scores(self.encoder(prompts, responses)), responses)

    def fit(
        self,
        records: Sequence[Record] | Split,
        *,
        criterion: str | None = None,
        epochs: int = 1,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        validation_fraction: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        seed: int = 0,
        resample: bool = False,
        precision: Precision = "auto",
        progress: Progress | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> FitReport:
        """Learn from records of any kinds, mixed as they come, all weights at once; the normalisation is reset.

        How each kind is read: :func:`~textgym.reward_models.evidence.observe`; how answers come about from scores:
            :class:`~textgym.reward_models.likelihood.AnswerLikelihood`.

        Args:
            records: Comparisons, rankings, ratings, demonstrations, implicit feedback. Comparisons of a text with
                itself are left out with a warning. What :func:`~textgym.reward_models.evidence.read_split` made of
                records is taken as it is: then ``criterion`` and ``validation_fraction`` have been decided.
            criterion: Learn from the ratings by this criterion (a key of
                :attr:`~textgym.feedback.types.Rating.criteria`) instead of the overall ones; ratings without it are
                left out, records of other kinds are not.
            epochs: Passes over the records.
            batch_size: Answers per step; all texts of one are in the same step.
            learning_rate: Peak of AdamW's learning rate (10 % linear warm-up, then linear decay to 0).
            validation_fraction: Share of the *prompts* held out, with all records about them, to measure accuracy and
                to calibrate.
            weight_decay: Of AdamW.
            max_grad_norm: Gradients are clipped to this norm.
            seed: Decides split and order; the same seed gives the same model on the same CPU.
            resample: Weight the prompts at random by ``seed``, for the members of an ensemble.
            precision: ``"auto"`` (bf16 autocast on GPUs that have it), ``"own"`` (the trunk's), ``"fp32"`` or
                ``"bf16"``.
            progress: Called as ``progress(step, total_steps, loss)``.
            checkpoints: Where to go on from, and where to keep the state of the fit on the way.

        Returns:
            The report, also kept as :attr:`report`.

        Raises:
            DataError: If the records teach nothing, are all about one prompt, or have no such criterion.
            RewardError: If the loss becomes infinite or NaN.
            ValueError: If a setting is out of range.
        """
        self.trunk.hold_masters()
        settings = FitSettings(epochs, batch_size, learning_rate, weight_decay, max_grad_norm, seed, precision)

        def train(evidence: Evidence) -> Training:
            observations = resampled(evidence.observations, seed) if resample else evidence.observations
            texts = self._encode(observations)
            self.try_sharing([(group[0], group[1]) for group in texts if len(group) == 2])
            return train_scorer(self, observations, texts, settings, progress, checkpoints)

        return self._learn(records, criterion, validation_fraction, seed, train)

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
        """Read a folder written by :meth:`save`; weights are float32 on the CPU.

        Raises:
            CheckpointError: If it is incomplete, damaged, or a reward model of another kind.
        """
        folder, card = storage.open_folder(folder, KIND)
        with storage.complete(folder):
            model = cls(folder, max_length=storage.integer(card["max_length"]))
            model._restore(card)
            model._read_head(folder / _HEAD)
        return model

    def _write(self, folder: Path, dtype: storage.Dtype) -> None:
        self.trunk.save_pretrained(folder)
        if dtype != "float32":
            storage.convert_weights(folder, dtype)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._head_tensors().items()}
        save_file(tensors, folder / _HEAD)
        storage.write_card(folder, self._card(dtype))

    def _head_tensors(self) -> dict[str, Tensor]:
        """What is learned besides the trunk."""
        return {"head.weight": self.head.weight, "likelihood_weight": self.likelihood_weight}

    def _read_head(self, file: Path) -> None:
        found = storage.read_tensors(file, self._head_tensors())
        self.load_state_dict(found, strict=False)  # the trunk has been read from its own file

    def _card(self, dtype: storage.Dtype) -> dict[str, Any]:
        return {
            "kind": KIND,
            "format": 1,
            "max_length": self.encoder.max_length,
            "dtype": dtype,
            **self._state(),
        }

    def _encode(self, observations: Sequence[Observation]) -> list[list[EncodedText]]:
        prompts = [each.prompt for each in observations for _ in each.responses]
        encoded = iter(self.encoder(prompts, [response for each in observations for response in each.responses]))
        return [[next(encoded) for _ in each.responses] for each in observations]
