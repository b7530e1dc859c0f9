"""Advantage-weighted regression: a language model imitates logged texts, the better ones more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from textgym.agents.common.logged import LoggedAgent
from textgym.agents.common.logged_texts import LoggedTurn, LoggedTurns, logged_batch
from textgym.agents.common.value_losses import (
    advantage_weights,
    effective_share,
    lambda_returns,
    weighted_regression_loss,
)
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.log_probs import log_probs_of
from textgym.models.stored_values import Check, number
from textgym.models.text_model import TextModel

__all__ = ["AWR", "LoggedTurn"]


class AWR(LoggedAgent):
    """Advantage-weighted regression (Peng et al. 2019, arXiv:1910.00177) on logged texts.

    A time step is an optimizer step, down a regression of the values to the returns of the log, and one of the policy
    to its tokens, with weights that grow with the advantage.

    Args:
        model: Trained in place.
        episodes: Log to learn from; without any the agent can act, but not learn.
        beta: Temperature of the weights ``exp(A / beta)``: small ones imitate the best tokens alone.
        largest_weight: Largest weight.
        gae_lambda: Lambda of the returns: 1 sums the rewards that follow, less trusts the values more.
        vf_coef: Value loss coefficient.
        options: Arguments of :class:`~textgym.agents.common.logged.LoggedAgent`.
    """

    kind = "textgym.AWR"
    facts: ClassVar[AgentFacts] = replace(
        LoggedAgent.facts, name="Advantage-weighted regression", method="advantage-weighted regression"
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **LoggedAgent.settings,
        **dict.fromkeys(("beta", "largest_weight", "gae_lambda", "vf_coef"), number),
    }

    def __init__(
        self,
        model: TextModel,
        episodes: Sequence[LoggedTurns] = (),
        *,
        beta: float = 0.3,
        largest_weight: float = 20.0,
        gae_lambda: float = 1.0,
        vf_coef: float = 0.5,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.beta, self.largest_weight, self.gae_lambda, self.vf_coef = beta, largest_weight, gae_lambda, vf_coef
        self.value_head = nn.Linear(model.hidden_size, 1).to(model.device)
        nn.init.zeros_(self.value_head.weight)
        returns = [sum(turn.reward for turn in episode) for episode in episodes]
        nn.init.constant_(self.value_head.bias, float(np.mean(returns)) if returns else 0.0)
        super().__init__(model, episodes, **options)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the model and the head of V, which reads the states of the model and does not change them."""
        return {**super().modules(), "value_head": self.value_head}

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return ``- mean w log pi(a|s) + vf_coef (G - V(s))^2`` over the tokens of a batch, and scalars to log."""
        batch = logged_batch(self.model, [self.episodes[row] for row in rows])
        states = self.model.hidden(batch.texts)  # (N, H)
        values = self.value_head(states.detach())[:, 0]  # (N,)
        # Equation 8 of the paper: V is fitted to the returns of the log
        returns = lambda_returns(batch.rewards, values, batch.ended, self.gamma, self.gae_lambda)
        value_loss = ((returns - values) ** 2).mean()
        # Equation 9: pi imitates the log, with weights exp((G - V) / beta)
        advantages = returns - values.detach()
        weights = advantage_weights(advantages, self.beta, self.largest_weight)
        log_probs = log_probs_of(self.model.logits(states), batch.actions)
        policy_loss = weighted_regression_loss(log_probs, weights).mean()
        statistics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "advantage_std": advantages.std(correction=0),
            "mean_weight": weights.mean(),
            "effective_share": effective_share(weights),
            "nll": -log_probs.mean(),
        }
        return policy_loss + self.vf_coef * value_loss, statistics
