"""GRPO: group relative policy optimization, and the forms of it that became its successors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from textgym.agents.common.group_advantages import SCALES, Scale, group_relative_advantages
from textgym.agents.common.groups import GroupAgent
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.common.losses import LOSS_TYPES, LossType, clipped_policy_loss, kl_loss, mean_of_texts
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.common.whole_texts import ratio_statistics
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.models.stored_values import Check, number, one_of, optional, truth
from textgym.naming import argument
from textgym.types import FloatArray

KLPlace = Literal["loss", "reward"]
_KL_PLACES: tuple[KLPlace, ...] = ("loss", "reward")


class GRPO(GroupAgent):
    """GRPO (Shao et al. 2024, arXiv:2402.03300), DAPO's loss (arXiv:2503.14476) and Dr. GRPO (arXiv:2503.20783).

    The advantage of a response, and of all its tokens, is its reward compared with the other responses to the same
    prompt. The defaults are those of GRPO; DAPO's loss is ``loss_type="dapo", clip_range_high=0.28, kl_coef=0.0``,
    Dr. GRPO ``loss_type="dr_grpo", scale_advantages="none", kl_coef=0.0``.

    Args:
        policy: ``CausalLMPolicy`` or ``Seq2SeqLMPolicy``, the class or its name.
        env: Token-level text environment (``make_vec_env``), whose copies are a multiple of ``group_size``.
        loss_type: Mean over tokens: ``"grpo"``, in which every response weighs the same; ``"dapo"``, in which every
            token does; or ``"dr_grpo"``, in which every token does, and the sum is divided by the number of responses
            times the longest that one can be.
        scale_advantages: Standard deviation that advantages are divided by: that of the ``"group"``, of the
            ``"batch"``, or ``"none"``.
        clip_range_high: Clip range of the probability ratio above 1; by default the one below 1.
        kl_in: Place of the KL penalty: in the ``"loss"``, by the k3 estimate, or in the ``"reward"`` of every token.
        unbiased_kl: Multiply the k3 estimate in the loss by the probability ratio, which makes its gradient that of the
            KL divergence; for several optimizer steps on a rollout.
        kl_coef: KL penalty coefficient.
        options: Arguments of :class:`~textgym.agents.common.groups.GroupAgent`, of
            :class:`~textgym.agents.common.whole_texts.WholeTextAgent` and of
            :class:`~textgym.agents.common.on_policy.OnPolicyAgent`.

    Raises:
        ValueError: For another loss, scale or place.
    """

    kind = "textgym.GRPO"
    facts: ClassVar[AgentFacts] = replace(GroupAgent.facts, method="GRPO with a KL penalty")
    settings: ClassVar[Mapping[str, Check]] = {
        **GroupAgent.settings,
        "loss_type": one_of(*LOSS_TYPES),
        "scale_advantages": one_of(*SCALES),
        "clip_range_high": optional(number),
        "kl_in": one_of(*_KL_PLACES),
        "unbiased_kl": truth,
    }

    def __init__(
        self,
        policy: str | type[LanguageModelPolicy],
        env: GymEnv | str | None,
        *,
        loss_type: LossType = "grpo",
        scale_advantages: Scale = "group",
        clip_range_high: float | None = None,
        kl_in: KLPlace = "loss",
        unbiased_kl: bool = False,
        kl_coef: float = 0.04,
        **options: Any,
    ) -> None:
        refuse_unknown(options, type(self))
        for name, value, known in (
            ("loss_type", loss_type, LOSS_TYPES),
            ("scale_advantages", scale_advantages, SCALES),
            ("kl_in", kl_in, _KL_PLACES),
        ):
            if value not in known:
                raise ValueError(f"expected {argument(name)} of {', '.join(known)}, got {value!r}; choose one of these")
        self.loss_type, self.scale_advantages, self.kl_in = loss_type, scale_advantages, kl_in
        self.clip_range_high, self.unbiased_kl = clip_range_high, unbiased_kl
        super().__init__(policy, env, kl_coef=kl_coef, **options)

    @property
    def penalizes_rewards(self) -> bool:
        """Return whether the KL penalty is part of the rewards."""
        return self.kl_in == "reward"

    def group_advantages(self, scores: FloatArray) -> FloatArray:
        """(R_i - mean(R)) / std(R), (G, k)."""
        return group_relative_advantages(scores, self.scale_advantages)

    def size(self, sample: EpisodeSamples) -> int:
        """The loss is a mean over tokens with DAPO, else over texts."""
        return len(sample.actions) if self.loss_type == "dapo" else self.texts_of(sample)[1]

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 3 of the paper, as a loss: clipped surrogate + kl_coef * KL, a mean over the tokens of texts."""
        texts, count = self.texts_of(sample)
        _, log_probs, entropy = self.policy.evaluate_actions(sample.observations, sample.actions)
        # min(r_t A_i, clip(r_t, 1 - eps, 1 + eps_high) A_i), r_t = pi(y_t | x, y_<t) / pi_old(y_t | x, y_<t), (N,)
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        surrogate = clipped_policy_loss(log_probs, sample.old_log_prob, advantages, self.clip_range, high)
        policy_loss = mean_of_texts(surrogate, texts, count, self.loss_type, self.longest_text)
        statistics = {
            "policy_loss": policy_loss,
            "entropy": entropy.mean(),
            **ratio_statistics(log_probs - sample.old_log_prob, self.clip_range, high),
        }
        loss = policy_loss - self.ent_coef * entropy.mean()
        if self.kl_in == "loss":
            # Equation 4: ref / pi - log(ref / pi) - 1; unbiased: times r_t
            reference = self.rollout_buffer.pick(self.reference_log_probs, sample.places).to(log_probs.dtype)
            estimates = kl_loss(log_probs, reference, sample.old_log_prob if self.unbiased_kl else None)
            penalty = mean_of_texts(estimates, texts, count, self.loss_type, self.longest_text)
            loss, statistics["kl_loss"] = loss + self.kl_coef * penalty, penalty
        return loss, statistics
