"""The settings of ``textgym reward fit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, use_start_model
from textgym.naming import argument
from textgym.reward_models import defaults
from textgym.training.stored_settings import settings_from_json


class FitOptions(TypedDict, total=False):
    """Arguments of a fit that is made in steps; what is left out is the reward model's default."""

    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class RewardSettings:
    """Settings of ``textgym reward fit``, as they are stored with a run.

    Attributes:
        choice: Task and data.
        model: Model that samples the texts to compare, and the model that the reward model starts from.
        lora_rank: Rank of LoRA adapters, which are trained instead of all weights.
        embeddings: Sentence-transformers model, or any that :class:`~textgym.reward_models.embedding.TextEmbedder`
            takes; a linear head on its frozen embeddings is fitted instead of a language model.
        members: Reward models to average, each fitted to reweighted prompts; they say where they disagree.
        feedback: Project, or file of any shape that :func:`~textgym.feedback.records.files.load_records` reads;
            ``None`` lets an annotator be simulated.
        criterion: Learn from the ratings by this criterion instead of the overall ones.
        learning_curve: Also fit to shares of the feedback, and measure what more of it brings.
        annotator: Name of the reward that a simulated annotator compares by; ``None``: the true quality where the data
            know it, else the task's main metric (:func:`~textgym.feedback.annotators.by_reward.annotator_reward`).
        pairs: Number of simulated comparisons.
        noise: Score difference at which the better text is preferred with probability 0.73; ``None`` is that of the
            annotator.
        epochs, learning_rate, batch_size: Passes over the records, step size, and answers per step, of the fit.
        held_out: Share of the prompts that accuracy is measured on.
        max_prompt_tokens, max_new_tokens: Budgets of the texts that are sampled; ``None`` is the task's.
        save_every: Optimizer steps between checkpoints.
    """

    choice: EnvChoice
    model: str = ""
    members: int = 1
    lora_rank: int | None = None
    embeddings: str | None = None
    feedback: str | None = None
    criterion: str | None = None
    learning_curve: bool = False
    annotator: str | None = None
    pairs: int = 2000
    noise: float | None = None
    epochs: int = defaults.EPOCHS
    learning_rate: float = defaults.LEARNING_RATE
    batch_size: int = defaults.BATCH_SIZE
    held_out: float = 0.1
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    save_every: int = 100
    seed: int = 0
    device: str = "auto"
    out: str | None = None

    def __post_init__(self) -> None:
        use_start_model(self)
        budgets = ("max_prompt_tokens", "max_new_tokens")
        counts = ("members", "lora_rank", "pairs", "epochs", "batch_size", "save_every", *budgets)
        check_settings(self, counts=counts, positive=("learning_rate",), not_negative=("noise", "held_out"))
        if self.held_out >= 1:
            raise ValueError(f"expected a share below 1 as {argument('held_out')}, got {self.held_out}; lower it")
        if self.criterion is not None and self.feedback is None:
            raise ValueError(
                f"expected feedback that holds ratings by the criterion, got none; give {argument('feedback')}"
            )
        if self.learning_curve and not self.held_out:
            raise ValueError(
                "expected held-out prompts, on which a learning curve is measured, got none; "
                f"raise {argument('held_out')}"
            )
        if self.embeddings is not None and self.lora_rank is not None:
            raise ValueError(
                f"expected {argument('embeddings')}, which are frozen, or {argument('lora_rank')}, got both; leave one "
                "out"
            )
        if self.pairs < 2:
            raise ValueError(
                f"expected {argument('pairs')} of at least 2, as one is held out, got {self.pairs}; raise it"
            )

    def fit_options(self) -> FitOptions:
        """Return the arguments of a fit in steps."""
        return {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> RewardSettings:
        """Read what ``dataclasses.asdict`` wrote."""
        return settings_from_json(cls, record)
