"""Implicit Q-learning for language: values learned from logged texts guide a language model as it writes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from textgym.agents.common.logged import LoggedAgent
from textgym.agents.common.logged_texts import LoggedTurn, LoggedTurns, logged_batch
from textgym.agents.common.token_writer import TokenWriter
from textgym.agents.common.value_losses import (
    conservative_loss,
    expectile_loss,
    guided_logits,
    next_values,
    taken,
    td_targets,
)
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.log_probs import log_probs_of
from textgym.models.stored_values import Check, number, one_of
from textgym.models.text_model import TextModel

__all__ = ["ILQL", "LoggedTurn"]

Critic = Literal["shared", "detached"]
_WIDTH = 2  # of the hidden layer of a head, in widths of the model
_HEADS = ("q_1", "q_2")


class ILQL(LoggedAgent):
    """Implicit Q-learning for language (Snell et al. 2022, arXiv:2206.11871) on logged texts.

    Values are learned from tokens of the log alone: V is an expectile of Q over them (Kostrikov et al. 2021,
    arXiv:2110.06169), so that no token is asked about that was never tried. The language model imitates the log; when
    it writes, its logits are moved by ``beta (Q(s, a) - V(s))``. A time step is an optimizer step.

    Args:
        model: Trained in place.
        episodes: Log to learn from; without any the agent can act, but not learn.
        beta: Weight of the advantage as it writes; 0 writes what the log has.
        expectile: Expectile of Q that V is: 0.5 is the mean over the log, towards 1 the best of it.
        cql_coef: Coefficient of the conservative term, which keeps values of tokens low that were never tried.
        bc_coef: Coefficient of the cross-entropy, by which the language model imitates the log.
        target_rate: Share by which the target heads of Q follow at every step.
        critic: Value heads: ``"shared"`` ones change the states that they read, with the language model; ``"detached"``
            ones leave them as they are.
        options: Arguments of :class:`~textgym.agents.common.logged.LoggedAgent`.
    """

    kind = "textgym.ILQL"
    facts: ClassVar[AgentFacts] = replace(
        LoggedAgent.facts, name="Implicit Q-learning", method="implicit Q-learning for language"
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **LoggedAgent.settings,
        **dict.fromkeys(("beta", "expectile", "cql_coef", "bc_coef", "target_rate"), number),
        "critic": one_of("shared", "detached"),
    }

    def __init__(
        self,
        model: TextModel,
        episodes: Sequence[LoggedTurns] = (),
        *,
        beta: float = 8.0,
        expectile: float = 0.8,
        cql_coef: float = 0.1,
        bc_coef: float = 1.0,
        target_rate: float = 0.02,
        critic: Critic = "shared",
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        if critic not in ("shared", "detached"):
            raise ValueError(f"expected critic 'shared' or 'detached', got {critic!r}; choose one of these")
        self.beta, self.expectile, self.cql_coef, self.bc_coef = beta, expectile, cql_coef, bc_coef
        self.target_rate, self.critic = target_rate, critic
        with torch.random.fork_rng():
            torch.manual_seed(options.get("seed", 0))
            returns = [sum(turn.reward for turn in episode) for episode in episodes]
            # From 0, the end of a text would for long look worse than going on, wherever returns are negative.
            start = float(np.mean(returns)) if returns else 0.0
            self.heads = nn.ModuleDict(
                {name: _head(model, model.vocab_size, start) for name in _HEADS} | {"v": _head(model, 1, start)}
            ).to(model.device)
        self.targets = nn.ModuleDict({name: copy.deepcopy(self.heads[name]) for name in _HEADS}).requires_grad_(False)
        super().__init__(model, episodes, **options)
        self._writer = TokenWriter(model, self.logits)

    @property
    def text_model(self) -> None:  # type: ignore[override]
        """None: what its language model writes by itself is not what the agent writes."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the model, the heads of Q and V, and the target heads of Q."""
        return {**super().modules(), "heads": self.heads, "targets": self.targets}

    def loss(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of a batch (section 4 of the paper), a mean over its tokens, and scalars to log."""
        batch = logged_batch(self.model, [self.episodes[row] for row in rows])
        states = self.model.hidden(batch.texts)  # (N, H)
        read = states.detach() if self.critic == "detached" else states
        values = self.heads["v"](read)[:, 0]  # (N,)
        q_values = [self.heads[name](read) for name in _HEADS]  # two of (N, V)
        # Q(s, a) -> r + gamma V(s')
        targets = td_targets(batch.rewards, next_values(values.detach(), batch.ended), self.gamma)
        q_loss = torch.stack([(targets - taken(each, batch.actions)) ** 2 for each in q_values]).sum(0).mean()
        # V(s) -> expectile of min(Q_1, Q_2)(s, a) over the tokens of the log
        with torch.no_grad():
            seen = taken(self._least(read), batch.actions)
        value_loss = expectile_loss(seen - values, self.expectile).mean()
        cql_loss = torch.stack([conservative_loss(each, batch.actions) for each in q_values]).sum(0).mean()
        bc_loss = -log_probs_of(self.model.logits(states), batch.actions).mean()
        statistics = {
            "q_loss": q_loss,
            "value_loss": value_loss,
            "cql_loss": cql_loss,
            "bc_loss": bc_loss,
            "q_value": seen.mean(),
            "value": values.mean(),
        }
        return q_loss + value_loss + self.cql_coef * cql_loss + self.bc_coef * bc_loss, statistics

    def after_step(self) -> None:
        """Count the step, and let the target heads follow those that are trained."""
        super().after_step()
        with torch.no_grad():
            for name in _HEADS:
                for target, trained in zip(self.targets[name].parameters(), self.heads[name].parameters(), strict=True):
                    target.lerp_(trained, self.target_rate)

    # ------------------------------------------------------------------ acting
    def logits(self, states: Tensor) -> Tensor:
        """Logits (N, V) that the agent writes with, given hidden states (N, H)."""
        logits = self.model.logits(states)
        if not self.beta:
            return logits
        return guided_logits(logits, self._least(states), self.heads["v"](states)[:, 0], self.beta)

    def _least(self, states: Tensor) -> Tensor:
        """The smaller of the values that the two target heads give to all tokens, (N, V)."""
        least: Tensor = torch.min(*(self.targets[name](states) for name in _HEADS))
        return least


def _head(model: TextModel, size: int, start: float) -> nn.Sequential:
    """A network on the states of a model, whose outputs are ``start`` at first."""
    head = nn.Sequential(
        nn.Linear(model.hidden_size, _WIDTH * model.hidden_size),
        nn.ReLU(),
        nn.Linear(_WIDTH * model.hidden_size, size),
    )
    last = head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, start)
    return head
