"""Proximal policy optimization of a language model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule
from torch import Tensor

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import clipped_policy_loss, clipped_value_loss, normalize_advantages
from textgym.agents.common.on_policy import OnPolicyAgent
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, number, optional, positive, truth
from textgym.naming import argument


class PPO(OnPolicyAgent):
    """PPO (Schulman et al. 2017, arXiv:1707.06347) with a KL penalty (Ziegler et al. 2019, arXiv:1909.08593).

    ``PPO("CausalLMPolicy", env)`` trains the model whose tokenizer the environment uses. Further arguments are those of
    :class:`~textgym.agents.common.on_policy.OnPolicyAgent`: the penalty, what is done to rewards, minibatches.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        n_epochs: Passes over a rollout.
        gae_lambda: Lambda of generalized advantage estimation, which trades bias for variance.
        clip_range: Clip range of the probability ratio.
        clip_range_vf: Clip range of the value change (the larger of the clipped and unclipped losses); no clipping by
            default. Use it with rewards of order 1 around 0: values cannot follow returns that are far from them.
        normalize_advantage: Normalize advantages over the tokens of a minibatch to mean 0 and standard deviation 1;
            with ``scale_rewards``, to mean 0 only.
        target_kl: Early stopping: end the epochs of an update when its approximate KL exceeds 1.5 times this.
        options: Arguments of :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.
    """

    kind = "textgym.PPO"
    facts: ClassVar[AgentFacts] = replace(
        OnPolicyAgent.facts,
        method="PPO with a KL penalty",
        limits={
            **OnPolicyAgent.facts.limits,
            **dict.fromkeys(("clip_range", "clip_range_vf", "target_kl"), (0.0, math.inf)),
            "batch_size": (2, math.inf),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **OnPolicyAgent.settings,
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
        n_epochs: int = 4,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        target_kl: float | None = None,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        self.n_epochs, self.target_kl, self.normalize_advantage = n_epochs, target_kl, normalize_advantage
        self.clip_range, self.clip_range_vf = clip_range, clip_range_vf
        super().__init__(policy, env, gae_lambda=gae_lambda, **options)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.normalize_advantage and min(self.batch_size, self.n_steps * self.n_envs) < 2:
            raise ValueError(
                "expected at least 2 tokens per optimizer step and rollout, to normalize advantages over, got "
                f"{argument('batch_size', self.batch_size)}, {argument('n_envs', self.n_envs)} and "
                f"{argument('n_steps', self.n_steps)}; raise them"
            )
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)

    def train(self) -> None:
        """Several epochs of optimizer steps on the rollout (Algorithm 1 of the paper)."""
        with self.updating() as steps:
            for _ in range(self.n_epochs):
                self._n_updates += 1
                # Minibatches of whole episodes in random order.
                for members in self.rollout_buffer.minibatches(self.batch_size):
                    # Gradient of the loss below, a mean over the minibatch's tokens.
                    statistics = self.accumulate_gradients(members)
                    # The surrogate is a bound only near the policy of the rollout: stop when it is left.
                    if self.target_kl is not None and statistics["approx_kl"] > 1.5 * self.target_kl:
                        return
                    steps.append(self.step_optimizer(statistics))

    def scaled_advantages(self, advantages: Tensor) -> Tensor:
        """Advantages (N,) of a minibatch with mean 0 and, unless rewards were scaled, standard deviation 1."""
        if not self.normalize_advantage:
            return advantages
        # Scaled scores are of size 1 already. Dividing again would, where all texts get the same reward, blow up what
        # the KL penalty leaves to full-sized steps, which drift.
        return advantages - advantages.mean() if self.scale_rewards else normalize_advantages(advantages)

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 9 of the paper, as a loss: clipped surrogate + vf_coef * value loss - ent_coef * entropy."""
        progress = self._current_progress_remaining
        clip_range = self.clip_range(progress) if callable(self.clip_range) else self.clip_range
        clip_range_vf = self.clip_range_vf(progress) if callable(self.clip_range_vf) else self.clip_range_vf
        # V(s_t), log pi(a_t | s_t) and H[pi(. | s_t)] of the policy as it is now; (N, 1), (N,), (N,)
        values, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        # Equation 7: L_clip = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)], r_t = pi(a_t | s_t) / pi_old(a_t | s_t)
        policy_loss = clipped_policy_loss(log_probs, sample.old_log_prob, advantages, clip_range).mean()
        # L_VF = E[(V(s_t) - V_t^target)^2]; the target is the return of the rollout
        value_loss = clipped_value_loss(values.flatten(), sample.old_values, sample.returns, clip_range_vf).mean()
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        log_ratio = (log_probs - sample.old_log_prob).detach()
        ratio = log_ratio.exp()
        statistics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy.mean(),
            "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
            "approx_kl": (log_ratio.expm1() - log_ratio).mean(),  # k3, http://joschu.net/blog/kl-approx.html
            "ratio_max": ratio.max(),
        }
        return loss, statistics
