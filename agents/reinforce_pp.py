"""REINFORCE++: returns that are normalized over the whole batch, and a clipped ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from textgym.agents.common.group_advantages import normalized_returns
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import clipped_policy_loss
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.common.whole_texts import WholeTextAgent, ratio_statistics
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown


class REINFORCEPlusPlus(WholeTextAgent):
    """REINFORCE++ (Hu 2025, arXiv:2501.03262): PPO's loss without a critic, on any number of texts per prompt.

    The KL penalty is part of the reward of every token. The return of a token is the sum of the rewards from it to the
    end of the text, and its advantage that return normalized over all tokens of the rollout.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        n_minibatches: Optimizer steps of a pass, at most as many as there are texts in a rollout.
        options: Arguments of :class:`~textgym.agents.common.whole_texts.WholeTextAgent` and of
            :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.
    """

    kind = "textgym.REINFORCEPlusPlus"
    facts: ClassVar[AgentFacts] = replace(
        WholeTextAgent.facts, name="REINFORCE++", method="REINFORCE++ with a KL penalty"
    )

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        n_minibatches: int = 4,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        super().__init__(policy, env, n_minibatches=n_minibatches, **options)

    def estimate_advantages(self) -> Mapping[str, float]:
        """A_t = (G_t - mean(G)) / std(G), over all tokens of the rollout."""
        super().estimate_advantages()  # G_t = sum of gamma^(k - t) r_k over k >= t, since there are no values
        buffer = self.rollout_buffer
        returns = buffer.returns[buffer.counted].astype(np.float64)
        buffer.advantages[buffer.counted] = normalized_returns(returns)
        return {"return_std": float(returns.std())}

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's clipped surrogate - ent_coef * entropy, means over tokens."""
        _, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        # min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t), r_t = pi(a_t | s_t) / pi_old(a_t | s_t)
        policy_loss = clipped_policy_loss(log_probs, sample.old_log_prob, advantages, self.clip_range).mean()
        loss = policy_loss - self.ent_coef * entropy.mean()
        statistics = ratio_statistics(log_probs - sample.old_log_prob, self.clip_range, self.clip_range)
        return loss, {"policy_loss": policy_loss, "entropy": entropy.mean(), **statistics}
