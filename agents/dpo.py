"""Direct Preference Optimization: a language model learns from preferences, without a reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preference_losses import (
    apo_down_loss,
    apo_zero_loss,
    dpo_loss,
    exo_loss,
    hinge_loss,
    nca_loss,
    robust_dpo_loss,
    sppo_loss,
)
from textgym.agents.common.preferences import FeedbackAgent, LogProbs, PairAgent
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, number, one_of, truth
from textgym.models.text_model import TextModel
from textgym.naming import argument

LossType = Literal["sigmoid", "robust", "exo", "hinge", "nca", "sppo", "apo_zero", "apo_down"]
_SMOOTHED = ("sigmoid", "robust", "exo")

__all__ = ["DPO", "PreferencePair"]


def check_loss_type(options: Mapping[str, Any]) -> None:
    """Check that a loss of :class:`DPO` goes with a share of wrong preferences.

    Raises:
        ValueError: There is no such loss, it has no such share, or needs one.
    """
    loss_type, smoothing = options["loss_type"], options["label_smoothing"]
    if loss_type not in get_args(LossType):
        known = ", ".join(get_args(LossType))
        raise ValueError(f"expected {argument('loss_type')} {known}, got {loss_type!r}; choose one of these")
    if smoothing and loss_type not in _SMOOTHED:
        raise ValueError(
            f"expected {argument('label_smoothing')} with the loss {', '.join(_SMOOTHED)}, got "
            f"{argument('loss_type', loss_type)}, which knows no wrong preferences; leave one of them out"
        )
    if loss_type == "exo" and not smoothing:
        raise ValueError(
            f"expected {argument('label_smoothing')} above 0 with {argument('loss_type', 'exo')}, whose loss is "
            "infinite for certain preferences, got 0; choose a small one, such as 0.001"
        )


class DPO(PairAgent):
    """Direct Preference Optimization (Rafailov et al. 2023, arXiv:2305.18290).

    The policy that is best for a reward under a KL penalty tells the reward: beta log pi / ref, but for a term that a
    pair shares. So preferences are fitted by the policy itself. A time step is an optimizer step.

    Args:
        model: Trained in place.
        pairs: Preferences to learn from; without any the agent can act, but not learn.
        held_out: Preferences that the agent is measured on.
        beta: Strength of the KL constraint to the start model.
        loss_type: Loss of a pair: ``"sigmoid"`` is that of the paper, the others are variants.
        label_smoothing: Share of the preferences that are taken to be the wrong way round; with ``"sigmoid"`` that is
            conservative DPO.
        average_log_probs: Compare log-probabilities per token, so that length has no weight.
        reference_free: Compare with no reference, which then takes no computation.
        sft_coef: Coefficient of the cross-entropy of the chosen responses, which keeps them likely.
        options: Arguments of :class:`~textgym.agents.common.preferences.FeedbackAgent`.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.DPO"
    facts: ClassVar[AgentFacts] = replace(
        FeedbackAgent.facts,
        name="Direct Preference Optimization",
        method="Direct Preference Optimization",
        limits={**FeedbackAgent.facts.limits, "label_smoothing": (0.0, 0.49)},
        check=check_loss_type,
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **PairAgent.settings,
        "loss_type": one_of(*get_args(LossType)),
        "label_smoothing": number,
        "average_log_probs": truth,
        "reference_free": truth,
        "sft_coef": number,
    }

    def __init__(
        self,
        model: TextModel,
        pairs: Sequence[PreferencePair] = (),
        held_out: Sequence[PreferencePair] = (),
        *,
        beta: float = 0.1,
        loss_type: LossType = "sigmoid",
        label_smoothing: float = 0.0,
        average_log_probs: bool = False,
        reference_free: bool = False,
        sft_coef: float = 0.0,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.loss_type, self.label_smoothing, self.sft_coef = loss_type, label_smoothing, sft_coef
        self.average_log_probs, self.reference_free = average_log_probs, reference_free
        check_loss_type(vars(self))
        super().__init__(model, pairs, held_out, beta=beta, **options)

    @property
    def uses_reference(self) -> bool:
        """Return whether the loss compares with the reference model."""
        return not self.reference_free

    def log_ratios(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Return log pi(y|x) - log ref(y|x) of chosen and rejected responses, (B, 2)."""
        ratios = log_probs.sums if reference is None else log_probs.sums - reference
        return ratios / log_probs.lengths if self.average_log_probs else ratios

    def implied_rewards(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """r(x, y) = beta log pi(y|x) / ref(y|x), equation 5 without the term that both responses share."""
        return self.beta * self.log_ratios(log_probs, reference)

    def pair_losses(self, log_probs: LogProbs, reference: Tensor | None) -> Tensor:
        """Equation 7: - log sigma(r(x, y_chosen) - r(x, y_rejected)); or another loss of the two log-ratios."""
        chosen, rejected = self.log_ratios(log_probs, reference).unbind(1)
        losses = self._losses(chosen, rejected)
        # Pang et al. (2024), arXiv:2404.19733
        return losses - self.sft_coef * log_probs.means[:, 0] if self.sft_coef else losses

    def _losses(self, chosen: Tensor, rejected: Tensor) -> Tensor:
        match self.loss_type:
            case "robust":
                return robust_dpo_loss(chosen, rejected, self.beta, self.label_smoothing)
            case "exo":
                return exo_loss(chosen, rejected, self.beta, self.label_smoothing)
            case "hinge":
                return hinge_loss(chosen, rejected, self.beta)
            case "nca":
                return nca_loss(chosen, rejected, self.beta)
            case "sppo":
                return sppo_loss(chosen, rejected, self.beta)
            case "apo_zero":
                return apo_zero_loss(chosen, rejected, self.beta)
            case "apo_down":
                return apo_down_loss(chosen, rejected, self.beta)
        return dpo_loss(chosen, rejected, self.beta, self.label_smoothing)
