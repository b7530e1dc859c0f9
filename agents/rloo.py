"""RLOO: REINFORCE with a leave-one-out baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from textgym.agents.common.group_advantages import leave_one_out_advantages
from textgym.agents.common.groups import GroupAgent
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import clipped_policy_loss, sums_of_texts
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.common.whole_texts import ratio_statistics
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.types import FloatArray


class RLOO(GroupAgent):
    """RLOO (Ahmadian et al. 2024, arXiv:2402.14740): a response is one action, its baseline the other responses.

    The score of a response is its reward minus the KL penalty of all its tokens, and its advantage is that score minus
    the mean score of the other responses to the same prompt.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), whose copies are a multiple of ``group_size``.
        options: Arguments of :class:`~textgym.agents.common.groups.GroupAgent`, of
            :class:`~textgym.agents.common.whole_texts.WholeTextAgent` and of
            :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.
    """

    kind = "textgym.RLOO"
    facts: ClassVar[AgentFacts] = replace(GroupAgent.facts, method="RLOO with a KL penalty")

    def __init__(self, policy: str | type[LanguageModelPolicy], env: GymEnv | str | None, **options: Any) -> None:
        refuse_unknown(options, type(self))
        super().__init__(policy, env, **options)

    def group_advantages(self, scores: FloatArray) -> FloatArray:
        """R(y_i, x) - 1 / (k - 1) sum over j != i of R(y_j, x), (G, k)."""
        return leave_one_out_advantages(scores)

    def size(self, sample: EpisodeSamples) -> int:
        """The loss is a mean over texts."""
        return self.texts_of(sample)[1]

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Its gradient is minus the mean over texts of A_i grad log pi(y_i | x), in the first optimizer step."""
        texts, count = self.texts_of(sample)
        _, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        # log pi(y | x) = sum_t log pi(y_t | x, y_<t), (M,)
        now = sums_of_texts(log_probs, texts, count)
        before = sums_of_texts(sample.old_log_prob, texts, count)
        # All tokens of a text have its advantage.
        of_texts = sums_of_texts(advantages, texts, count) / texts.bincount(minlength=count)
        # Further steps on the same texts weigh them by pi(y | x) / pi_old(y | x), clipped.
        policy_loss = clipped_policy_loss(now, before, of_texts, self.clip_range).mean()
        loss = policy_loss - self.ent_coef * entropy.mean()
        statistics = ratio_statistics(now - before, self.clip_range, self.clip_range)
        return loss, {"policy_loss": policy_loss, "entropy": entropy.mean(), **statistics}
