"""Identity preference optimization: preferences with a target for how much likelier the chosen response becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preference_losses import ipo_loss
from textgym.agents.common.preferences import FeedbackAgent, LogProbs, PairAgent
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, truth
from textgym.models.text_model import TextModel


class IPO(PairAgent):
    """Identity preference optimization (Azar et al. 2023, arXiv:2310.12036).

    Direct Preference Optimization pushes a pair apart for ever where a preference is never contradicted. Here the
    difference of the log-ratios has a target, 1 / (2 beta). A time step is an optimizer step.

    Args:
        model: Trained in place.
        pairs: Preferences to learn from; without any the agent can act, but not learn.
        held_out: Preferences that the agent is measured on.
        beta: Strength of the KL constraint to the start model (tau in the paper).
        average_log_probs: Compare log-ratios per token, so that the target is one per token; otherwise those of whole
            responses, as in the paper.
        options: Arguments of :class:`~textgym.agents.common.preferences.FeedbackAgent`.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.IPO"
    facts: ClassVar[AgentFacts] = replace(
        FeedbackAgent.facts, name="Identity preference optimization", method="identity preference optimization"
    )
    settings: ClassVar[Mapping[str, Check]] = {**PairAgent.settings, "average_log_probs": truth}

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[PreferencePair] = (),
        held_out: Sequence[PreferencePair] = (),
        *,
        beta: float = 0.1,
        average_log_probs: bool = True,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.average_log_probs = average_log_probs
        super().__init__(model, pairs, held_out, beta=beta, **options)

    def log_ratios(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Return log pi(y|x) - log ref(y|x) of chosen and rejected responses, (B, 2), summed or per token."""
        assert reference is not None
        ratios = log_probs.sums - reference
        return ratios / log_probs.lengths if self.average_log_probs else ratios

    def implied_rewards(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Return beta log pi(y|x) / ref(y|x), (B, 2), as in Direct Preference Optimization."""
        return self.beta * self.log_ratios(log_probs, reference)

    def pair_losses(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Equation 17: (h - 1 / (2 beta))^2, h the difference of the log-ratios."""
        chosen, rejected = self.log_ratios(log_probs, reference).unbind(1)
        return ipo_loss(chosen, rejected, self.beta)
