"""REINFORCE: the policy gradient of whole responses, with a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.on_policy import OnPolicyAgent
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check

Baseline = Literal["none", "mean", "learned"]
_BASELINES = ("none", "mean", "learned")
_OF_STEPS = ("gae_lambda", "unfinished_texts")


class REINFORCE(OnPolicyAgent):
    """REINFORCE (Williams 1992, doi:10.1007/BF00992696) with a KL penalty in the reward.

    The penalty is that of :class:`~textgym.agents.ppo.PPO`. One optimizer step per rollout. A rollout holds whole texts
    only, because the return of a token is the sum of all rewards from it to the end of the text: by default one text of
    every environment.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``).
        baseline: Baseline subtracted from the returns: ``"none"``, their ``"mean"`` over the tokens of the rollout, or
            a ``"learned"`` value of the text so far.
        rollout_texts: Responses per rollout, a multiple of the number of environments; by default one for each.
        options: Arguments of :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.

    Raises:
        ValueError: For another baseline.
    """

    kind = "textgym.REINFORCE"
    facts: ClassVar[AgentFacts] = replace(
        OnPolicyAgent.facts,
        method="REINFORCE with a KL penalty",
        not_options=(*OnPolicyAgent.facts.not_options, "unfinished_texts"),
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **{name: check for name, check in OnPolicyAgent.settings.items() if name not in _OF_STEPS},
        "baseline": lambda value: value in _BASELINES,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        baseline: Baseline = "mean",
        rollout_texts: int | None = None,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        if baseline not in _BASELINES:
            raise ValueError(f"expected baseline 'none', 'mean' or 'learned', got {baseline!r}; choose one of these")
        self.baseline = baseline
        # With lambda = 1 the advantage of a token is the sum of the rewards from it on, minus its value.
        super().__init__(policy, env, rollout_texts=rollout_texts, gae_lambda=1.0, **options)

    def _setup_model(self) -> None:
        if self.rollout_texts is None:
            self.rollout_texts = self.all_envs
        super()._setup_model()

    @property
    def learns_values(self) -> bool:
        """Return whether the baseline is learned."""
        return self.baseline == "learned"

    def train(self) -> None:
        """Take one step along the policy gradient of the rollout."""
        with self.updating() as steps:
            self._n_updates += 1
            statistics = self.accumulate_gradients(self.rollout_buffer.segments(), self.batch_size)
            steps.append(self.step_optimizer(statistics))

    def scaled_advantages(self, advantages: Tensor) -> Tensor:
        """G_t - b of all tokens (N,). A value head that nobody trains is 0, so that these are returns at first."""
        return advantages - advantages.mean() if self.baseline == "mean" else advantages

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Its gradient is minus the policy gradient E[grad log pi(a_t | s_t) (G_t - b)], a mean over tokens."""
        values, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        # Williams' theorem 1: the mean of grad log pi(a_t | s_t) (G_t - b) is the gradient of the expected return
        policy_loss = -(log_probs * advantages).mean()
        loss = policy_loss - self.ent_coef * entropy.mean()
        statistics = {"policy_loss": policy_loss, "entropy": entropy.mean()}
        if self.baseline == "learned":
            # b(s_t) = V(s_t) is fitted to the returns by least squares
            statistics["value_loss"] = ((values.flatten() - sample.returns) ** 2).mean()
            loss = loss + self.vf_coef * statistics["value_loss"]
        return loss, statistics
