"""Kahneman-Tversky optimization: texts that are good or bad, each by itself, instead of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.feedback_ids import FeedbackEncoder, LabelledText, encode_labels, pack_ids, unpack_ids
from textgym.agents.common.offline import OfflineAgent
from textgym.agents.common.preference_losses import kto_baseline, kto_loss
from textgym.agents.common.preferences import FeedbackAgent, LogProbs, score_responses, share_right
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.errors import CheckpointError, DataError
from textgym.feedback.types import Record
from textgym.models.stored_values import Check, number
from textgym.models.text_model import TextModel

__all__ = ["KTO", "LabelledText"]


class KTO(FeedbackAgent[LabelledText]):
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306).

    A text is desirable or not, by itself: ratings and thumbs are enough, and there need not be two responses to one
    prompt. Its implied reward is compared with a baseline, the KL of the policy to the start model, estimated from the
    responses to other prompts. A time step is an optimizer step.

    Args:
        model: Trained in place.
        texts: Labelled texts to learn from; without any the agent can act, but not learn.
        held_out: Labelled texts that the agent is measured on.
        beta: Strength of the KL constraint to the start model.
        desirable_weight: Weight of desirable texts; times their number, it should be 1 to 1.33 times that of the
            others.
        undesirable_weight: Weight of the others.
        options: Arguments of :class:`~textgym.agents.common.preferences.FeedbackAgent`.

    Raises:
        DataError: All texts answer one prompt.
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.KTO"
    wanted = "texts that are good or bad"
    facts: ClassVar[AgentFacts] = replace(
        FeedbackAgent.facts,
        name="Kahneman-Tversky optimization",
        method="Kahneman-Tversky optimization",
        limits={
            **FeedbackAgent.facts.limits,
            **dict.fromkeys(("desirable_weight", "undesirable_weight"), (0.0, math.inf)),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        "beta": number,
        "desirable_weight": number,
        "undesirable_weight": number,
        **OfflineAgent.settings,
    }
    parts = 3

    def __init__(
        self,
        model: TextModel,
        texts: Sequence[LabelledText] = (),
        held_out: Sequence[LabelledText] = (),
        *,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.beta, self.desirable_weight, self.undesirable_weight = beta, desirable_weight, undesirable_weight
        super().__init__(model, with_others(texts), with_others(held_out, texts), **options)

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the mean of L_KTO over a batch; its baseline is estimated from the same batch."""
        batch, reference = [self.items[row] for row in rows], self._reference_of(rows)
        assert reference is not None
        own = score_responses(self.text_model, [(item.prompt, (item.response,)) for item in batch]).sums[:, 0]
        with torch.no_grad():
            others = score_responses(self.text_model, [(item.prompt, (item.other,)) for item in batch]).sums[:, 0]
        log_ratios, mismatched = own - reference[:, 0], others - reference[:, 1]
        desirable = _labels(batch).to(own.device)
        losses = self._losses(log_ratios, mismatched, desirable)
        return losses.mean(), self._statistics_of(log_ratios.detach(), mismatched, desirable)

    def _losses(self, log_ratios: Tensor, mismatched: Tensor, desirable: Tensor) -> Tensor:
        weights = self.desirable_weight, self.undesirable_weight
        return kto_loss(log_ratios, desirable, kto_baseline(mismatched), self.beta, *weights)

    def _statistics_of(self, log_ratios: Tensor, mismatched: Tensor, desirable: Tensor) -> dict[str, Tensor]:
        """Return the scalars to log of a batch; one of a kind of texts is missing where it has none of these."""
        baseline = kto_baseline(mismatched)
        leads = self.beta * (log_ratios - baseline) * torch.where(desirable, 1.0, -1.0)
        found = {"accuracy": share_right(leads), "kl_baseline": baseline, "forward_kl": -log_ratios.mean()}
        for name, kind in (("reward_desirable", desirable), ("reward_undesirable", ~desirable)):
            if kind.any():
                found[name] = self.beta * log_ratios[kind].mean()
        return found

    def measure(
        self, items: Sequence[LabelledText], log_probs: LogProbs, reference: Tensor | None
    ) -> tuple[float, float]:
        """Return how often a text is on its side of the baseline, and the mean loss."""
        assert reference is not None
        log_ratios, mismatched = (log_probs.sums - reference.to(log_probs.sums.device)).unbind(1)
        desirable = _labels(items).to(log_ratios.device)
        found = self._statistics_of(log_ratios, mismatched, desirable)
        return found["accuracy"].item(), self._losses(log_ratios, mismatched, desirable).mean().item()

    def texts_of(self, item: LabelledText) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        """Return the prompt with its response, and with that to another prompt."""
        return item.prompt, (item.response, item.other)

    @classmethod
    def encode(cls, records: Sequence[Record], encoder: FeedbackEncoder) -> list[LabelledText]:
        """Return the texts that records find good or bad."""
        return encode_labels(records, encoder)

    def pack(self, items: Sequence[LabelledText]) -> dict[str, Tensor]:
        """Return labelled texts as tensors by name."""
        return {**pack_ids([(item.prompt, item.response, item.other) for item in items]), "desirable": _labels(items)}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], vocabulary: int) -> list[LabelledText]:
        """Return the texts that :meth:`pack` packed."""
        rows, labels = unpack_ids(tensors, cls.parts, vocabulary), tensors.get("desirable")
        if labels is None or labels.dtype != torch.bool or labels.shape != (len(rows),):
            raise CheckpointError("expected a label of every text in a checkpoint, got others; use another checkpoint")
        return [
            LabelledText(prompt, response, label, other)
            for (prompt, response, other), label in zip(rows, labels.tolist(), strict=True)
        ]


def with_others(texts: Sequence[LabelledText], pool: Sequence[LabelledText] = ()) -> list[LabelledText]:
    """Return texts, each with the response to another prompt: the next one in the list that has another.

    Args:
        texts: The texts; those that have such a response keep it.
        pool: Texts to take responses from as well, where all of ``texts`` answer one prompt.

    Raises:
        DataError: All of them answer one prompt.
    """
    everything, found = [*texts, *pool], []
    for place, text in enumerate(texts):
        following = (everything[(place + step) % len(everything)] for step in range(1, len(everything)))
        other = text.other or next((each.response for each in following if each.prompt != text.prompt), ())
        if not other:
            raise DataError(
                "expected labelled texts about at least two prompts, whose responses tell what the model writes "
                "anyway, got texts about one; collect more, or learn from pairs"
            )
        found.append(text._replace(other=other))
    return found


def _labels(items: Sequence[LabelledText]) -> Tensor:
    return torch.tensor([item.desirable for item in items], dtype=torch.bool)
