"""The unmodified DQN of Stable-Baselines3 with a language model as its Q network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import stable_baselines3
from stable_baselines3.common.type_aliases import GymEnv

from textgym.agents.common.off_policy import StockQAgent
from textgym.agents.common.q_policy import TextQPolicy
from textgym.agents.facts import AgentFacts

__all__ = ["DQN", "TextQPolicy"]


class DQN(StockQAgent, stable_baselines3.DQN):
    """DQN as Stable-Baselines3 has it (Mnih et al. 2015, doi:10.1038/nature14236), over tokens.

    Arguments that are not named here are those of ``stable_baselines3.DQN``, with its defaults.

    Args:
        policy: ``TextQPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), or its id, of which one copy is made.
        learning_rate: Learning rate, constant; a schedule is used as it is.
        buffer_size: Size of the replay buffer, in tokens.
        learning_starts: Tokens that are written at random before learning starts.
        batch_size: Tokens per gradient step, drawn from the replay buffer.
        gamma: Discount factor; 1 is usual for text.
        gradient_steps: Gradient steps per update.
        target_update_interval: Tokens between two updates of the target network.
        exploration_fraction: Share of the training over which epsilon falls to its last value.
        exploration_initial_eps: Epsilon at first: the share of steps at which all environments take random tokens.
        exploration_final_eps: Epsilon in the end.
        max_grad_norm: Maximum gradient norm (clipping).
        options: Arguments of :class:`~textgym.agents.common.off_policy.StockQAgent` and of ``stable_baselines3.DQN``.
    """

    kind = "textgym.DQN"
    facts: ClassVar[AgentFacts] = replace(StockQAgent.facts, method="the DQN of Stable-Baselines3")

    def __init__(
        self,
        policy: str | type[TextQPolicy],
        env: GymEnv | str | None,
        *,
        learning_rate: float = 3e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 256,
        gamma: float = 1.0,
        gradient_steps: int = 4,
        target_update_interval: int = 500,
        exploration_fraction: float = 0.5,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        max_grad_norm: float = 10.0,
        **options: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            gamma=gamma,
            gradient_steps=gradient_steps,
            target_update_interval=target_update_interval,
            exploration_fraction=exploration_fraction,
            exploration_initial_eps=exploration_initial_eps,
            exploration_final_eps=exploration_final_eps,
            max_grad_norm=max_grad_norm,
            **options,
        )
