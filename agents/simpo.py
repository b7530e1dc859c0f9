"""SimPO: preferences by the mean log-probability of a response, without a reference model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preference_losses import simpo_loss
from textgym.agents.common.preferences import FeedbackAgent, LogProbs, PairAgent
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, number
from textgym.models.text_model import TextModel


class SimPO(PairAgent):
    """SimPO (Meng et al. 2024, arXiv:2405.14734).

    The reward of a response is its mean log-probability per token, which is what it is sampled by; the chosen one has
    to win by a margin. No reference model is needed; nothing but the learning rate keeps the model near its start. A
    time step is an optimizer step.

    Args:
        model: Trained in place.
        pairs: Preferences to learn from; without any the agent can act, but not learn.
        held_out: Preferences that the agent is measured on.
        beta: Scale of the rewards.
        target_margin: Difference of the rewards that is aimed at (gamma in the paper).
        options: Arguments of :class:`~textgym.agents.common.preferences.FeedbackAgent`.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.SimPO"
    facts: ClassVar[AgentFacts] = replace(
        FeedbackAgent.facts,
        name="SimPO",
        method="simple preference optimization (SimPO)",
        limits={**FeedbackAgent.facts.limits, "target_margin": (0.0, math.inf)},
    )
    settings: ClassVar[Mapping[str, Check]] = {**PairAgent.settings, "target_margin": number}

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[PreferencePair] = (),
        held_out: Sequence[PreferencePair] = (),
        *,
        beta: float = 2.0,
        target_margin: float = 0.5,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.target_margin = target_margin
        super().__init__(model, pairs, held_out, beta=beta, **options)

    @property
    def uses_reference(self) -> bool:
        """There is no reference model."""
        return False

    def implied_rewards(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Equation 4: ``beta / |y| log pi(y|x)`` of chosen and rejected responses, (B, 2)."""
        return self.beta * log_probs.means

    def pair_losses(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Equation 6: - log sigma(r(x, y_chosen) - r(x, y_rejected) - gamma)."""
        chosen, rejected = log_probs.means.unbind(1)
        return simpo_loss(chosen, rejected, self.beta, self.target_margin)
