"""The unmodified A2C of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import stable_baselines3
from stable_baselines3.common.type_aliases import GymEnv

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.stock import StockAgent
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, number, truth


class A2C(StockAgent, stable_baselines3.A2C):
    """Advantage actor-critic as Stable-Baselines3 has it (Mnih et al. 2016, arXiv:1602.01783); without a KL penalty.

    One optimizer step per rollout.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        use_rms_prop: Use RMSprop, as in the paper; otherwise the optimizer of the policy, AdamW.
        rms_prop_eps: Epsilon of RMSprop, beside the root of the mean square.
        options: Arguments of :class:`~textgym.agents.common.stock.StockAgent` and of ``stable_baselines3.A2C``.
    """

    kind = "textgym.A2C"
    facts: ClassVar[AgentFacts] = replace(StockAgent.facts, method="the A2C of Stable-Baselines3")
    settings: ClassVar[Mapping[str, Check]] = {
        **StockAgent.settings,
        "normalize_advantage": truth,
        "use_rms_prop": truth,
        "rms_prop_eps": number,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        use_rms_prop: bool = True,
        rms_prop_eps: float = 1e-5,
        **options: Any,
    ) -> None:
        self.use_rms_prop, self.rms_prop_eps = use_rms_prop, rms_prop_eps  # Stable-Baselines3 does not keep them
        super().__init__(policy, env, use_rms_prop=use_rms_prop, rms_prop_eps=rms_prop_eps, **options)
