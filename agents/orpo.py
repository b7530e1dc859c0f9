"""Odds-ratio preference optimization: supervised fine-tuning and preferences in one loss, without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preference_losses import log_odds, odds_ratio_loss
from textgym.agents.common.preferences import FeedbackAgent, LogProbs, PairAgent
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.text_model import TextModel


class ORPO(PairAgent):
    """Odds-ratio preference optimization (Hong et al. 2024, arXiv:2403.07691).

    The chosen response is imitated, as in supervised fine-tuning, and its odds are raised above those of the rejected
    one. No reference model is needed, and no supervised stage before. A time step is an optimizer step.

    Args:
        model: Trained in place.
        pairs: Preferences to learn from; without any the agent can act, but not learn.
        held_out: Preferences that the agent is measured on.
        beta: Weight of the odds ratio (lambda in the paper).
        options: Arguments of :class:`~textgym.agents.common.preferences.FeedbackAgent`.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.ORPO"
    facts: ClassVar[AgentFacts] = replace(
        FeedbackAgent.facts, name="Odds-ratio preference optimization", method="odds-ratio preference optimization"
    )

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[PreferencePair] = (),
        held_out: Sequence[PreferencePair] = (),
        *,
        beta: float = 0.1,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        super().__init__(model, pairs, held_out, beta=beta, **options)

    @property
    def uses_reference(self) -> bool:
        """There is no reference model."""
        return False

    def implied_rewards(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Log-odds of the mean token probability of chosen and rejected responses, times beta; (B, 2)."""
        return self.beta * torch.stack([log_odds(means) for means in log_probs.means.unbind(1)], 1)

    def pair_losses(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Equation 6: L_SFT + lambda L_OR, per pair."""
        chosen, rejected = log_probs.means.unbind(1)
        return -chosen + self.beta * odds_ratio_loss(chosen, rejected)

    def statistics(self, log_probs: LogProbs, reference: Tensor | None) -> dict[str, Tensor]:
        """Return the scalars to log of a batch, both terms of the loss among them."""
        chosen, rejected = log_probs.means.unbind(1)
        own = {"sft_loss": -chosen.mean(), "odds_ratio_loss": odds_ratio_loss(chosen, rejected).mean()}
        return super().statistics(log_probs, reference) | own
