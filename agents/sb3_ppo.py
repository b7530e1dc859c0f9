"""The unmodified PPO of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import stable_baselines3
from stable_baselines3.common.type_aliases import GymEnv

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.stock import StockAgent
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, number, optional, positive, truth


class SB3PPO(StockAgent, stable_baselines3.PPO):
    """PPO as Stable-Baselines3 has it (Schulman et al. 2017, arXiv:1707.06347); without a KL penalty.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        batch_size: Approximate number of tokens per minibatch; whole episodes are kept together.
        options: Arguments of :class:`~textgym.agents.common.stock.StockAgent` and of ``stable_baselines3.PPO``.
    """

    kind = "textgym.SB3PPO"
    facts: ClassVar[AgentFacts] = replace(StockAgent.facts, method="the PPO of Stable-Baselines3")
    settings: ClassVar[Mapping[str, Check]] = {
        **StockAgent.settings,
        "batch_size": positive,
        "n_epochs": positive,
        "normalize_advantage": truth,
        "target_kl": optional(number),
    }
    schedules = ("learning_rate", "clip_range", "clip_range_vf")

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        batch_size: int = 768,
        **options: Any,
    ) -> None:
        super().__init__(policy, env, batch_size=batch_size, **options)
