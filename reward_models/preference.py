"""A language model as a reward, learned from feedback."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from textgym.models.loading import load_language_model
from textgym.models.text_model import TextModel
from textgym.reward_models import defaults, storage
from textgym.reward_models.encoding import EncodedText, TextEncoder
from textgym.reward_models.evidence import Evidence, Observation
from textgym.reward_models.fitting import Checkpoints, FitSettings, Progress, Training, train_scorer
from textgym.reward_models.learned import LearnedReward, resampled
from textgym.reward_models.report import HeldOutWatch
from textgym.reward_models.scoring import Precision, ResponseScorer
from textgym.types import FloatArray, JsonObject, Shown
from textgym.values import expect_integer

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
        report: Report of the last fit, or ``None``.

    Raises:
        ValueError: If ``max_length`` is below 16 or above the trunk's context.
        ModelError: If the trunk's tokenizer has no EOS.
        MissingExtraError: If ``lora_rank`` is given and PEFT is not installed.

    References:
        Stiennon et al. (2020), arXiv:2009.01325; Ouyang et al. (2022), arXiv:2203.02155.
    """

    kind = "preference"

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
                f"expected max_length between {_MIN_LENGTH} and {self.context}, the context of the model, "
                f"got {max_length}; pass max_length={min(self.context, max(max_length, _MIN_LENGTH))}"
            )
        self.encoder = TextEncoder(self.trunk.tokenizer, max_length)
        if lora_rank is not None:
            self.trunk.add_lora(lora_rank)

    def raw(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Scores before normalisation; arguments, return value and errors as in :meth:`forward`."""
        return self._checked(self.raw_scores(self.encoder(prompts, responses)), responses)

    def learn(
        self,
        evidence: Evidence,
        *,
        seed: int = 0,
        epochs: int = defaults.EPOCHS,
        batch_size: int = defaults.BATCH_SIZE,
        learning_rate: float = defaults.LEARNING_RATE,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        resample: bool = False,
        precision: Precision = "auto",
        progress: Progress | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Training:
        """Train all weights at once; :meth:`fit` takes these arguments as well.

        Args:
            evidence: Observations read from records.
            seed: Decides the order of batches, and the weights of ``resample``.
            epochs: Passes over the records.
            batch_size: Answers per step; all texts of one are in the same step.
            learning_rate: Peak of AdamW's learning rate (10 % linear warm-up, then linear decay to 0).
            weight_decay: Weight decay of AdamW.
            max_grad_norm: Gradients are clipped to this norm.
            resample: Weight the prompts at random by ``seed``, for the members of an ensemble.
            precision: ``"auto"`` (bf16 autocast on GPUs that have it), ``"fp32"`` or ``"bf16"``.
            progress: Called as ``progress(step, total_steps, loss)``.
            checkpoints: Where to go on from, and where to keep the state of the fit on the way.

        Raises:
            RewardError: If the loss becomes infinite or NaN.
            ValueError: If a setting is out of range.
        """
        settings = FitSettings(epochs, batch_size, learning_rate, weight_decay, max_grad_norm, seed, precision)
        self.trunk.hold_masters()
        observations = resampled(evidence.observations, seed) if resample else evidence.observations
        texts = self._encode(observations)
        self.try_sharing([(group[0], group[1]) for group in texts if len(group) == 2])
        return train_scorer(self, observations, texts, settings, progress, checkpoints)

    def _watched_by(self, watch: HeldOutWatch) -> dict[str, Any]:
        return {"progress": watch}

    def save(self, folder: str | Path, *, dtype: storage.Dtype = "float32") -> None:
        """Write a folder: a JSON card, the trunk in Hugging Face layout with its tokenizer, and the head.

        Args:
            folder: Where to, as :meth:`LearnedReward.save <textgym.reward_models.learned.LearnedReward.save>`.
            dtype: Floating type of the trunk on disk (the head stays float32). Halves change scores slightly.

        Raises:
            CheckpointError: If the folder holds something else than a reward model, or a weight does not fit ``dtype``.
        """
        storage.write_folder(folder, partial(self._write, dtype=dtype))

    def _write_parts(self, folder: Path, dtype: storage.Dtype = "float32") -> dict[str, object]:
        self.trunk.save_pretrained(folder)
        if dtype != "float32":
            storage.convert_weights(folder, dtype)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._head_tensors().items()}
        save_file(tensors, folder / _HEAD)
        return {"max_length": self.encoder.max_length, "dtype": dtype}

    @classmethod
    def _read_parts(cls, folder: Path, card: JsonObject) -> Self:
        model = cls(folder, max_length=expect_integer(card["max_length"]))
        model._read_head(folder / _HEAD)
        return model

    def _head_tensors(self) -> dict[str, Tensor]:
        """Return the learned tensors besides the trunk, by name."""
        return {"head.weight": self.head.weight, "likelihood_weight": self.likelihood_weight}

    def _read_head(self, file: Path) -> None:
        found = storage.read_tensors(file, self._head_tensors())
        self.load_state_dict(found, strict=False)  # the trunk has been read from its own file

    def _encode(self, observations: Sequence[Observation]) -> list[list[EncodedText]]:
        prompts = [each.prompt for each in observations for _ in each.responses]
        encoded = iter(self.encoder(prompts, [response for each in observations for response in each.responses]))
        return [[next(encoded) for _ in each.responses] for each in observations]
