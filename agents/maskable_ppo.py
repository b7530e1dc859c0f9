"""The unmodified MaskablePPO of sb3-contrib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from stable_baselines3.common.type_aliases import GymEnv

from textgym.agents.common import contrib
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.masked_buffer import MaskedEpisodeBuffer
from textgym.agents.common.stock import StockAgent
from textgym.agents.facts import AgentFacts
from textgym.models.stored_values import Check, number, optional, positive, truth

# It asks for these classes, of which it needs the methods that ours have too.
contrib.MaskableActorCriticPolicy.register(LanguageModelPolicy)
contrib.MaskableDictRolloutBuffer.register(MaskedEpisodeBuffer)


class MaskablePPO(StockAgent, contrib.MaskablePPO):  # type: ignore[misc]  # classes that are registered above
    """PPO that draws only the tokens that the task allows (Huang and Ontanon 2020, arXiv:2006.14171), by sb3-contrib.

    The masks are those of ``env.action_masks()``: of the task's ``allowed``, or else all tokens. No KL penalty.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        batch_size: Approximate number of tokens per minibatch; whole episodes are kept together.
        options: Arguments of :class:`~textgym.agents.common.stock.StockAgent` and of ``sb3_contrib.MaskablePPO``.
    """

    kind = "textgym.MaskablePPO"
    facts: ClassVar[AgentFacts] = replace(StockAgent.facts, method="the MaskablePPO of sb3-contrib")
    settings: ClassVar[Mapping[str, Check]] = {
        **StockAgent.settings,
        "batch_size": positive,
        "n_epochs": positive,
        "normalize_advantage": truth,
        "target_kl": optional(number),
    }
    schedules = ("learning_rate", "clip_range", "clip_range_vf")
    buffer_class = MaskedEpisodeBuffer

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        batch_size: int = 768,
        **options: Any,
    ) -> None:
        super().__init__(policy, env, batch_size=batch_size, **options)
